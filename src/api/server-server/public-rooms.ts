import { Type as t } from '@sinclair/typebox'
import { op } from '#api/http/op.ts'
import { open } from '#core/schema.ts'
import { type DirectoryAnswer, type DirectoryQuery, readDirectory } from '#engine/read/directory.ts'
import type { Context } from '#src/context.ts'

const path = '/_matrix/federation/v1/publicRooms' as const

export const getPublicRooms = op({
  id: 'getPublicRooms',
  method: 'GET',
  path,
  auth: 'server',
  query: open({
    limit: t.Optional(t.Integer()),
    since: t.Optional(t.String()),
    third_party_instance_id: t.Optional(t.String()),
  }),

  run({ query: { third_party_instance_id: network, ...query } }, ctx) {
    return listRooms(ctx, network, query)
  },
})

export const queryPublicRooms = op({
  id: 'queryPublicRooms',
  method: 'POST',
  path,
  auth: 'server',
  body: open({
    limit: t.Optional(t.Integer()),
    since: t.Optional(t.String()),
    filter: t.Optional(
      open({
        generic_search_term: t.Optional(t.String()),
        room_types: t.Optional(t.Array(t.Union([t.String(), t.Null()]))),
      }),
    ),
    third_party_instance_id: t.Optional(t.String()),
  }),

  run({ body: { limit, since, filter, third_party_instance_id: network } }, ctx) {
    return listRooms(ctx, network, {
      limit,
      since,
      term: filter?.generic_search_term,
      roomTypes: filter?.room_types,
    })
  },
})

/** There are no rooms of third-party networks here. */
const listRooms = async (
  ctx: Context,
  network: string | undefined,
  query: DirectoryQuery,
): Promise<DirectoryAnswer> =>
  network === undefined ? readDirectory(ctx, query) : { chunk: [], total_room_count_estimate: 0 }

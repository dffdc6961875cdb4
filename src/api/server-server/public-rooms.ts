import { type Static, Type as t } from '@sinclair/typebox'
import { open } from '#core/schema.ts'
import { op } from '#api/http/op.ts'
import { directoryOf } from '#engine/appservice/network.ts'
import { readDirectory } from '#engine/read/directory.ts'
import type { Context } from '#src/context.ts'

const path = '/_matrix/federation/v1/publicRooms'

const Query = open({
  limit: t.Optional(t.Integer({ minimum: 0 })),
  since: t.Optional(t.String()),
  include_all_networks: t.Optional(t.Boolean()),
  third_party_instance_id: t.Optional(t.Union([t.String(), t.Null()])),
})

export const getPublicRooms = op({
  id: 'getPublicRooms',
  method: 'GET',
  path,
  auth: 'server',
  limit: 'peer',
  query: Query,

  run: ({ query }, ctx) => list(ctx, query, undefined),
})

const Filter = open({
  generic_search_term: t.Optional(t.Union([t.String(), t.Null()])),
  room_types: t.Optional(t.Union([t.Array(t.Union([t.String(), t.Null()])), t.Null()])),
})

export const queryPublicRooms = op({
  id: 'queryPublicRooms',
  method: 'POST',
  path,
  auth: 'server',
  limit: 'peer',
  body: open({ ...Query.properties, filter: t.Optional(Filter) }),

  run: ({ body: { filter, ...query } }, ctx) => list(ctx, query, filter),
})

function list(
  ctx: Context,
  { limit, since, ...networks }: Static<typeof Query>,
  filter: Static<typeof Filter> | undefined,
) {
  return readDirectory(ctx, {
    limit,
    since,
    directory: directoryOf(networks),
    term: filter?.generic_search_term ?? undefined,
    roomTypes: filter?.room_types ?? undefined,
  })
}

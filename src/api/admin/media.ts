import { type Static, Type as t } from '@sinclair/typebox'
import { requireRoom } from '#api/admin/rooms/find.ts'
import { keysOf, writeMedia } from '#api/admin/media/write.ts'
import { Paging, nextOf, orderOf, pageOf, textOf } from '#api/admin/lists/paging.ts'
import { localUser } from '#api/client-server/admin/local-user.ts'
import { op } from '#api/http/op.ts'
import { invalidParam, notFound } from '#core/error.ts'
import { RoomId, open } from '#core/schema.ts'
import { mediaOfRoom } from '#engine/read/media-of-room.ts'
import * as mediaRows from '#store/media/media.ts'
import * as moderation from '#store/media/moderation.ts'
import type { Context } from '#src/context.ts'

// What administrators do with media, in the form that known tools speak. The bytes of what is deleted
// go with the next sweep.

const path = '/_synapse/admin/v1'
const user = open({ userId: t.String() })
const room = open({ roomId: RoomId })
const mxc = open({ serverName: t.String(), mediaId: t.String() })
const Time = t.Integer({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER })
const Hidden = open({ num_quarantined: t.Integer() })
const Deleted = open({ deleted_media: t.Array(t.String()), total: t.Integer() })

/** Media of one statement. */
const atOnce = 500

const deleted = (keys: readonly mediaRows.MediaKey[]) => ({
  deleted_media: keys.map(({ mediaId }) => mediaId),
  total: keys.length,
})

export const listMediaOfRoom = op({
  id: 'listMediaOfRoom',
  method: 'GET',
  path: `${path}/room/:roomId/media`,
  auth: 'admin',
  params: room,
  response: open({ local: t.Array(t.String()), remote: t.Array(t.String()) }),

  async run({ params: { roomId } }, ctx) {
    const uris = [...(await mediaOfRoom(ctx.sql, await requireRoom(ctx, roomId)))]
    const isLocal = (uri: string) => uri.startsWith(`mxc://${ctx.serverName}/`)
    return { local: uris.filter(isLocal), remote: uris.filter((uri) => !isLocal(uri)) }
  },
})

export const quarantineMediaOfRoom = op({
  id: 'quarantineMediaOfRoom',
  method: 'POST',
  path: `${path}/room/:roomId/media/quarantine`,
  also: [`${path}/quarantine_media/:roomId`],
  auth: 'admin',
  params: room,
  response: Hidden,

  async run({ who, params: { roomId } }, ctx) {
    const keys = keysOf(await mediaOfRoom(ctx.sql, await requireRoom(ctx, roomId)))
    let hidden = 0
    for (let from = 0; from < keys.length; from += atOnce)
      hidden += await moderation.quarantine(ctx.sql, keys.slice(from, from + atOnce), who.userId)
    return { num_quarantined: hidden }
  },
})

export const quarantineMediaOfUser = op({
  id: 'quarantineMediaOfUser',
  method: 'POST',
  path: `${path}/user/:userId/media/quarantine`,
  auth: 'admin',
  params: user,
  response: Hidden,

  async run({ who, params: { userId } }, ctx) {
    await localUser(ctx, userId)
    return { num_quarantined: await moderation.quarantineOfUser(ctx.sql, userId, who.userId) }
  },
})

export const quarantineMedia = op({
  id: 'quarantineMedia',
  method: 'POST',
  path: `${path}/media/quarantine/:serverName/:mediaId`,
  auth: 'admin',
  params: mxc,

  async run({ who, params }, ctx) {
    await requireMedia(ctx, params)
    await moderation.quarantine(ctx.sql, [params], who.userId)
    return {}
  },
})

export const unquarantineMedia = op({
  id: 'unquarantineMedia',
  method: 'POST',
  path: `${path}/media/unquarantine/:serverName/:mediaId`,
  auth: 'admin',
  params: mxc,

  async run({ params }, ctx) {
    await requireMedia(ctx, params)
    await moderation.release(ctx.sql, [params])
    return {}
  },
})

const protecting = (id: string, word: 'protect' | 'unprotect') =>
  op({
    id,
    method: 'POST',
    path: `${path}/media/${word}/:mediaId`,
    auth: 'admin',
    params: open({ mediaId: t.String() }),

    async run({ params: { mediaId } }, ctx) {
      const own = { serverName: ctx.serverName, mediaId }
      await requireMedia(ctx, own)
      await moderation.protect(ctx.sql, own, word === 'protect')
      return {}
    },
  })
export const protectMedia = protecting('protectMedia', 'protect')
export const unprotectMedia = protecting('unprotectMedia', 'unprotect')

const AgeQuery = open({
  before_ts: Time,
  size_gt: t.Optional(Time),
  keep_profiles: t.Optional(t.Boolean()),
})

export const deleteMediaByAge = op({
  id: 'deleteMediaByAge',
  method: 'POST',
  path: `${path}/media/delete`,
  auth: 'admin',
  query: AgeQuery,
  response: Deleted,
  run: ({ query }, ctx) => deleteByAge(ctx, query),
})

/** As older tools ask for the same. */
export const deleteMediaOfServerByAge = op({
  id: 'deleteMediaOfServerByAge',
  method: 'POST',
  path: `${path}/media/:serverName/delete`,
  auth: 'admin',
  params: open({ serverName: t.String() }),
  query: AgeQuery,
  response: Deleted,

  run({ params: { serverName }, query }, ctx) {
    if (serverName !== ctx.serverName)
      throw invalidParam('Only media of this server is deleted by its age')
    return deleteByAge(ctx, query)
  },
})

async function deleteByAge(ctx: Context, query: Static<typeof AgeQuery>) {
  const { before_ts: before, size_gt: largerThan = 0, keep_profiles: keepProfiles = true } = query
  requireMilliseconds(before)
  const gone: mediaRows.MediaKey[] = []
  for (;;) {
    const wanted = { before, largerThan, keepProfiles, atMost: atOnce }
    const keys = await moderation.findLocal(ctx.sql, ctx.serverName, wanted)
    if (keys.length === 0) return deleted(gone)
    gone.push(...(await moderation.remove(ctx.sql, keys, ctx.clock())))
  }
}

/** Whoever mixes up seconds and milliseconds would delete nothing. */
function requireMilliseconds(before: number): void {
  if (before < 30_000_000_000)
    throw invalidParam("'before_ts' is a time before 1971: it is in milliseconds")
}

export const purgeMediaCache = op({
  id: 'purgeMediaCache',
  method: 'POST',
  path: `${path}/purge_media_cache`,
  auth: 'admin',
  query: open({ before_ts: Time }),
  response: open({ deleted: t.Integer() }),

  async run({ query: { before_ts: before } }, ctx) {
    requireMilliseconds(before)
    const step = { before, now: ctx.clock(), atMost: atOnce }
    let gone = 0
    for (let count = atOnce; count === atOnce; gone += count)
      count = await mediaRows.dropUnused(ctx.sql, ctx.serverName, step)
    return { deleted: gone }
  },
})

export const getMedia = op({
  id: 'getMedia',
  method: 'GET',
  path: `${path}/media/:serverName/:mediaId`,
  auth: 'admin',
  params: mxc,
  response: open({ media_info: open({ media_id: t.String() }) }),
  run: async ({ params }, ctx) => ({ media_info: writeMedia(await requireMedia(ctx, params)) }),
})

export const deleteMedia = op({
  id: 'deleteMedia',
  method: 'DELETE',
  path: `${path}/media/:serverName/:mediaId`,
  auth: 'admin',
  params: mxc,
  response: Deleted,

  async run({ params }, ctx) {
    if (params.serverName !== ctx.serverName)
      throw invalidParam('Only media of this server is deleted one by one')
    await requireMedia(ctx, params)
    return deleted(await moderation.remove(ctx.sql, [params], ctx.clock()))
  },
})

async function requireMedia(ctx: Context, key: mediaRows.MediaKey) {
  const found = await moderation.one(ctx.sql, key)
  if (!found) throw notFound('There is no such media')
  return found
}

async function ofUser(
  ctx: Context,
  userId: string,
  query: { from?: number; limit?: number; order_by?: string; dir?: 'f' | 'b' },
) {
  await localUser(ctx, userId)
  const page = pageOf(query)
  const order = orderOf(query.order_by, moderation.mediaOrders, 'created_ts')
  // Without an order the newest come first.
  const backwards = query.dir === 'b' || (query.dir === undefined && query.order_by === undefined)
  const found = await moderation.listOfUser(ctx.sql, userId, { ...page, order, backwards })
  return { ...found, page }
}

export const listMediaOfUser = op({
  id: 'listMediaOfUser',
  method: 'GET',
  path: `${path}/users/:userId/media`,
  auth: 'admin',
  params: user,
  query: open(Paging),
  response: open({ media: t.Array(open({ media_id: t.String() })), total: t.Integer() }),

  async run({ params: { userId }, query }, ctx) {
    const { media, total, page } = await ofUser(ctx, userId, query)
    return { media: media.map(writeMedia), total, ...nextOf(page, media.length, total) }
  },
})

export const deleteMediaOfUser = op({
  id: 'deleteMediaOfUser',
  method: 'DELETE',
  path: `${path}/users/:userId/media`,
  auth: 'admin',
  params: user,
  query: open(Paging),
  response: Deleted,

  async run({ params: { userId }, query }, ctx) {
    const { media } = await ofUser(ctx, userId, query)
    return deleted(await moderation.remove(ctx.sql, media, ctx.clock()))
  },
})

export const getMediaStatistics = op({
  id: 'getMediaStatistics',
  method: 'GET',
  path: `${path}/statistics/users/media`,
  auth: 'admin',
  query: open({
    ...Paging,
    from_ts: t.Optional(Time),
    until_ts: t.Optional(Time),
    search_term: t.Optional(t.String()),
  }),
  response: open({ users: t.Array(open({ user_id: t.String() })), total: t.Integer() }),

  async run({ query }, ctx) {
    const page = pageOf(query)
    const { users, total } = await moderation.usage(ctx.sql, {
      ...page,
      order: orderOf(query.order_by, moderation.usageOrders, 'user_id'),
      backwards: query.dir === 'b',
      since: query.from_ts ?? 0,
      until: query.until_ts ?? Number.MAX_SAFE_INTEGER,
      term: textOf(query.search_term),
    })
    return {
      users: users.map(({ displayname: name, ...row }) => ({
        ...row,
        displayname: name === null ? null : (JSON.parse(name) as string | null),
      })),
      total,
      ...nextOf(page, users.length, total),
    }
  },
})

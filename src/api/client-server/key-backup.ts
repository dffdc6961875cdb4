import { type Static, Type as t } from '@sinclair/typebox'
import { readKey, streamRooms } from '#api/client-server/key-backup/keys.ts'
import { op } from '#api/http/op.ts'
import { Reply } from '#api/http/reply.ts'
import { invalidParam, notFound } from '#core/error.ts'
import { Content, open, record } from '#core/schema.ts'
import { shardOf } from '#core/shard.ts'
import type { Session } from '#engine/user/access-tokens.ts'
import * as backedUpKeys from '#store/user/backed-up-keys.ts'
import * as keyBackups from '#store/user/key-backups.ts'
import type { Context } from '#src/context.ts'

const prefix = '/_matrix/client'
const paths = (path: string) =>
  ({
    path: `${prefix}/v3/room_keys/${path}`,
    also: [`${prefix}/r0/room_keys/${path}`, `${prefix}/unstable/room_keys/${path}`],
  }) as const

/** Clients store some hundred keys at once. */
const maxBytes = 16 * 1024 * 1024
/** Not spec: what a client may say about a backup. */
const maxInfoBytes = 65_536

const Info = open({ algorithm: t.String({ minLength: 1, maxLength: 255 }), auth_data: Content })
const InBackup = open({ version: t.String() })
const ofVersion = open({ version: t.String() })
const ofRoom = open({ roomId: t.String() })
const ofSession = open({ roomId: t.String(), sessionId: t.String() })
const SessionKey = open({
  first_message_index: t.Integer({ minimum: 0 }),
  forwarded_count: t.Integer({ minimum: 0 }),
  is_verified: t.Boolean(),
  session_data: Content,
})
const RoomKeys = open({ sessions: record(SessionKey) })
const Tally = open({ etag: t.String(), count: t.Integer() })

export const postRoomKeysVersion = op({
  id: 'postRoomKeysVersion',
  method: 'POST',
  ...paths('version'),
  auth: 'user',
  admits: ['suspended'],
  limit: 'change',
  maxBytes: maxInfoBytes,
  body: Info,
  response: open({ version: t.String() }),

  async run({ who, body }, ctx) {
    const { version } = await ctx.users.call('createBackup', who.userId, infoOf(body))
    return { version }
  },
})

export const getRoomKeysVersionCurrent = op({
  id: 'getRoomKeysVersionCurrent',
  method: 'GET',
  ...paths('version'),
  auth: 'user',
  limit: 'lookup',

  async run({ who }, ctx) {
    const backup = (await backupsOf(ctx, who)).find(({ deleted }) => !deleted)
    if (!backup) throw notFound('No current backup version')
    return write(backup)
  },
})

export const getRoomKeysVersion = op({
  id: 'getRoomKeysVersion',
  method: 'GET',
  ...paths('version/:version'),
  auth: 'user',
  limit: 'lookup',
  params: ofVersion,
  run: async ({ who, params }, ctx) => write(await requireBackup(ctx, who, params.version)),
})

export const putRoomKeysVersion = op({
  id: 'putRoomKeysVersion',
  method: 'PUT',
  ...paths('version/:version'),
  auth: 'user',
  admits: ['suspended'],
  limit: 'change',
  maxBytes: maxInfoBytes,
  params: ofVersion,
  body: t.Composite([Info, open({ version: t.Optional(t.String()) })], {
    additionalProperties: true,
  }),

  async run({ who, params, body }, ctx) {
    if (body.version !== undefined && body.version !== params.version)
      throw invalidParam("'version' is not the version of the path")
    await ctx.users.call('updateBackup', who.userId, numberOf(params.version), infoOf(body))
    return {}
  },
})

export const deleteRoomKeysVersion = op({
  id: 'deleteRoomKeysVersion',
  method: 'DELETE',
  ...paths('version/:version'),
  auth: 'user',
  admits: ['suspended'],
  limit: 'change',
  params: ofVersion,

  async run({ who, params }, ctx) {
    await ctx.users.call('deleteBackup', who.userId, numberOf(params.version))
    return {}
  },
})

export const putRoomKeyBySessionId = op({
  id: 'putRoomKeyBySessionId',
  method: 'PUT',
  ...paths('keys/:roomId/:sessionId'),
  auth: 'user',
  admits: ['suspended'],
  limit: 'change',
  params: ofSession,
  query: InBackup,
  body: SessionKey,
  response: Tally,
  run: ({ who, params: { roomId, sessionId }, query, body }, ctx) =>
    put(ctx, who, query.version, { [roomId]: { sessions: { [sessionId]: body } } }),
})

export const putRoomKeysByRoomId = op({
  id: 'putRoomKeysByRoomId',
  method: 'PUT',
  ...paths('keys/:roomId'),
  auth: 'user',
  admits: ['suspended'],
  limit: 'change',
  maxBytes,
  params: ofRoom,
  query: InBackup,
  body: RoomKeys,
  response: Tally,
  run: ({ who, params, query, body }, ctx) =>
    put(ctx, who, query.version, { [params.roomId]: body }),
})

export const putRoomKeys = op({
  id: 'putRoomKeys',
  method: 'PUT',
  ...paths('keys'),
  auth: 'user',
  admits: ['suspended'],
  limit: 'change',
  maxBytes,
  query: InBackup,
  body: open({ rooms: record(RoomKeys) }),
  response: Tally,
  run: ({ who, query, body }, ctx) => put(ctx, who, query.version, body.rooms),
})

export const getRoomKeyBySessionId = op({
  id: 'getRoomKeyBySessionId',
  method: 'GET',
  ...paths('keys/:roomId/:sessionId'),
  auth: 'user',
  limit: 'lookup',
  params: ofSession,
  query: InBackup,

  async run({ who, params: { roomId, sessionId }, query }, ctx) {
    const { version } = await requireBackup(ctx, who, query.version)
    const selection = { ...placeOf(who), version, roomId, sessionId }
    const [row] = await backedUpKeys.list(ctx.sql, selection, { roomId: '', sessionId: '' }, 1)
    if (!row) throw notFound('Key not found.')
    return readKey(row)
  },
})

export const getRoomKeysByRoomId = op({
  id: 'getRoomKeysByRoomId',
  method: 'GET',
  ...paths('keys/:roomId'),
  auth: 'user',
  limit: 'lookup',
  params: ofRoom,
  query: InBackup,
  run: ({ who, params, query }, ctx) => get(ctx, who, query.version, params.roomId),
})

export const getRoomKeys = op({
  id: 'getRoomKeys',
  method: 'GET',
  ...paths('keys'),
  auth: 'user',
  limit: 'lookup',
  query: InBackup,
  run: ({ who, query }, ctx) => get(ctx, who, query.version, undefined),
})

export const deleteRoomKeyBySessionId = op({
  id: 'deleteRoomKeyBySessionId',
  method: 'DELETE',
  ...paths('keys/:roomId/:sessionId'),
  auth: 'user',
  admits: ['suspended'],
  limit: 'change',
  params: ofSession,
  query: InBackup,
  response: Tally,
  run: ({ who, params: { roomId, sessionId }, query }, ctx) =>
    remove(ctx, who, query.version, roomId, sessionId),
})

export const deleteRoomKeysByRoomId = op({
  id: 'deleteRoomKeysByRoomId',
  method: 'DELETE',
  ...paths('keys/:roomId'),
  auth: 'user',
  admits: ['suspended'],
  limit: 'change',
  params: ofRoom,
  query: InBackup,
  response: Tally,
  run: ({ who, params, query }, ctx) => remove(ctx, who, query.version, params.roomId, null),
})

export const deleteRoomKeys = op({
  id: 'deleteRoomKeys',
  method: 'DELETE',
  ...paths('keys'),
  auth: 'user',
  admits: ['suspended'],
  limit: 'change',
  query: InBackup,
  response: Tally,
  run: ({ who, query }, ctx) => remove(ctx, who, query.version, null, null),
})

const placeOf = ({ userId }: Session) => ({ userId, shard: shardOf(userId) })

const infoOf = ({ algorithm, auth_data }: Static<typeof Info>) => ({
  algorithm,
  authData: JSON.stringify(auth_data),
})

/** Versions are opaque to clients, numbers to us; what is none names nothing. */
function numberOf(text: string): number {
  if (!/^[1-9]\d{0,14}$/.test(text)) throw notFound('Unknown backup version')
  return Number(text)
}

const backupsOf = (ctx: Context, { userId }: Session) =>
  keyBackups.list(ctx.sql, [userId], [shardOf(userId)])

async function requireBackup(ctx: Context, who: Session, version: string) {
  const wanted = numberOf(version)
  const found = (await backupsOf(ctx, who)).find((each) => each.version === wanted)
  if (!found || found.deleted) throw notFound('Unknown backup version')
  return found
}

const write = (backup: keyBackups.Backup) => ({
  algorithm: backup.algorithm,
  auth_data: JSON.parse(backup.auth_data) as Content,
  count: backup.key_count,
  etag: String(backup.etag),
  version: String(backup.version),
})

async function put(
  ctx: Context,
  { userId }: Session,
  version: string,
  rooms: Record<string, Static<typeof RoomKeys>>,
) {
  const keys = Object.entries(rooms).flatMap(([roomId, { sessions }]) =>
    Object.entries(sessions).map(([sessionId, key]) => ({
      roomId: requireName(roomId),
      sessionId: requireName(sessionId),
      isVerified: key.is_verified,
      firstMessageIndex: key.first_message_index,
      forwardedCount: key.forwarded_count,
      sessionData: JSON.stringify(key.session_data),
    })),
  )
  const { etag, count } = await ctx.users.call('putRoomKeys', userId, numberOf(version), keys)
  return { etag, count }
}

/** Rooms and sessions are names that only clients understand. */
function requireName(name: string): string {
  if (name === '' || name.length > 255 || name.includes('\0') || !name.isWellFormed())
    throw invalidParam('A room or session has a name of 1 to 255 characters')
  return name
}

async function get(ctx: Context, who: Session, version: string, roomId: string | undefined) {
  const backup = await requireBackup(ctx, who, version)
  const selection = { ...placeOf(who), version: backup.version, roomId, sessionId: undefined }
  const body = streamRooms(ctx, selection)
  return new Reply(200, body, { 'content-type': 'application/json' })
}

async function remove(
  ctx: Context,
  { userId }: Session,
  version: string,
  roomId: string | null,
  sessionId: string | null,
) {
  const wanted = numberOf(version)
  const landed = await ctx.users.call('deleteRoomKeys', userId, wanted, roomId, sessionId)
  return { etag: landed.etag, count: landed.count }
}

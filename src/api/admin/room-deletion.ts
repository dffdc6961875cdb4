import { type Static, Type as t } from '@sinclair/typebox'
import { op } from '#api/http/op.ts'
import { MatrixError, invalidParam, notFound } from '#core/error.ts'
import { isRoomId } from '#core/ids.ts'
import { RoomId, open } from '#core/schema.ts'
import { findRoom } from '#engine/read/room.ts'
import type { DeletionOutcome } from '#engine/user/room-deletions.ts'
import * as blockedRooms from '#store/user/blocked-rooms.ts'
import * as deletions from '#store/user/room-deletions.ts'
import type { Context } from '#src/context.ts'

// How administrators delete rooms, in the form that known tools speak.

const path = '/_synapse/admin'
const params = open({ roomId: RoomId })
const body = open({
  block: t.Optional(t.Boolean()),
  purge: t.Optional(t.Boolean()),
  force_purge: t.Optional(t.Boolean()),
  new_room_user_id: t.Optional(t.Union([t.String(), t.Null()])),
  room_name: t.Optional(t.Union([t.String(), t.Null()])),
  message: t.Optional(t.Union([t.String(), t.Null()])),
})
const Done = open({
  kicked_users: t.Array(t.String()),
  failed_to_kick_users: t.Array(t.String()),
  local_aliases: t.Array(t.String()),
  new_room_id: t.Null(),
})

const nothingDone: DeletionOutcome = {
  kicked_users: [],
  failed_to_kick_users: [],
  local_aliases: [],
  new_room_id: null,
}

/** Begins a deletion; its ID, or undefined where the room is not known and was only blocked. */
async function begin(
  ctx: Context,
  roomId: string,
  by: string,
  wish: Static<typeof body>,
): Promise<string | undefined> {
  if (!isRoomId(roomId)) throw invalidParam(`${roomId} is not a room ID`)
  if (typeof wish.new_room_user_id === 'string')
    throw invalidParam("Nobody is brought into another room here: 'new_room_user_id' is not taken")
  const { block = false, purge = true, force_purge: force = false } = wish
  await ctx.positions.settled()
  const isKnown = (await findRoom(ctx.sql, roomId)) !== undefined
  if (!isKnown && !block) throw notFound('There is no such room here')
  // First, so that nobody comes in behind those who are taken out.
  if (block) await blockedRooms.add(ctx.sql, roomId, by, ctx.clock())
  if (!isKnown) return undefined
  const deleteId = await ctx.roomDeletions.begin(roomId, by, { purge, force })
  if (deleteId === undefined)
    throw new MatrixError(400, 'M_UNKNOWN', 'The room is being deleted already')
  return deleteId
}

/** Answers when the users have left; the rows of the room go behind that. */
export const deleteRoomV1 = op({
  id: 'deleteRoomV1',
  method: 'DELETE',
  path: `${path}/v1/rooms/:roomId`,
  auth: 'admin',
  params,
  body,
  response: Done,

  async run({ who, params: { roomId }, body: wish }, ctx) {
    const deleteId = await begin(ctx, roomId, who.userId, wish)
    if (deleteId === undefined) return nothingDone
    await ctx.roomDeletions.emptied(deleteId)
    const row = await deletions.get(ctx.sql, deleteId)
    return row ? outcomeOf(row) : nothingDone
  },
})

export const deleteRoomV2 = op({
  id: 'deleteRoomV2',
  method: 'DELETE',
  path: `${path}/v2/rooms/:roomId`,
  auth: 'admin',
  params,
  body,
  response: open({ delete_id: t.String() }),

  async run({ who, params: { roomId }, body: wish }, ctx) {
    const deleteId = await begin(ctx, roomId, who.userId, wish)
    // There was nothing to do, so that nothing is found under it.
    return { delete_id: deleteId ?? crypto.randomUUID() }
  },
})

function outcomeOf(row: deletions.Deletion): DeletionOutcome {
  const { error: _error, ...done } = JSON.parse(row.outcome) as Partial<DeletionOutcome>
  return { ...nothingDone, ...done }
}

function write(row: deletions.Deletion) {
  const { error } = JSON.parse(row.outcome) as Partial<DeletionOutcome>
  return {
    delete_id: row.delete_id,
    room_id: row.room_id,
    status: row.status === 'active' ? 'purging' : row.status,
    shutdown_room: outcomeOf(row),
    ...(error !== undefined && { error }),
  }
}

const Status = open({ status: t.String(), shutdown_room: Done })

export const getDeletionsOfRoom = op({
  id: 'getDeletionsOfRoom',
  method: 'GET',
  path: `${path}/v2/rooms/:roomId/delete_status`,
  auth: 'admin',
  params,
  response: open({ results: t.Array(Status) }),

  async run({ params: { roomId } }, ctx) {
    const rows = await deletions.list(ctx.sql, roomId)
    if (rows.length === 0) throw notFound('The room was not deleted lately')
    return { results: rows.map(write) }
  },
})

export const getDeletion = op({
  id: 'getDeletion',
  method: 'GET',
  path: `${path}/v2/rooms/delete_status/:deleteId`,
  auth: 'admin',
  params: open({ deleteId: t.String() }),
  response: Status,

  async run({ params: { deleteId } }, ctx) {
    const row = await deletions.get(ctx.sql, deleteId)
    if (!row) throw notFound('There is no such deletion')
    return write(row)
  },
})

/** What is done in the background, of that which tools know. */
export const listScheduledTasks = op({
  id: 'listScheduledTasks',
  method: 'GET',
  path: `${path}/v1/scheduled_tasks`,
  auth: 'admin',
  query: open({
    resource_id: t.Optional(t.String()),
    job_status: t.Optional(t.String()),
    action_name: t.Optional(t.String()),
    max_timestamp: t.Optional(t.Integer()),
  }),
  response: open({ scheduled_tasks: t.Array(open({ id: t.String(), status: t.String() })) }),

  async run({ query }, ctx) {
    const action = 'shutdown_and_purge_room'
    const rows = await deletions.list(ctx.sql, query.resource_id)
    const tasks = rows.map((row) => ({
      id: row.delete_id,
      action,
      status: row.status,
      timestamp_ms: row.requested_at,
      resource_id: row.room_id,
      result: outcomeOf(row),
      error: (JSON.parse(row.outcome) as Partial<DeletionOutcome>).error ?? null,
    }))
    const fits = (task: (typeof tasks)[number]) =>
      (query.job_status === undefined || task.status === query.job_status) &&
      (query.action_name === undefined || action === query.action_name) &&
      (query.max_timestamp === undefined || task.timestamp_ms <= query.max_timestamp)
    return { scheduled_tasks: tasks.filter(fits) }
  },
})

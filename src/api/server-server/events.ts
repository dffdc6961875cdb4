import { Type as t } from '@sinclair/typebox'
import { erasedFor } from '#engine/read/erased.ts'
import { forbidden, notFound } from '#core/error.ts'
import { EventId, RoomId, open } from '#core/schema.ts'
import { op } from '#api/http/op.ts'
import { maxAtOnce } from '#api/http/rate-limit.ts'
import { jsonText } from '#api/http/reply.ts'
import {
  findServed,
  hiddenFrom,
  isRelayed,
  redactedText,
  servedText,
} from '#engine/read/federation-events.ts'
import { requireInRoom, requireNotKeptOut } from '#engine/read/federation-room.ts'
import { idsOf, listOf, stateBeforeEvent } from '#engine/read/federation-state.ts'
import { servedAtTime } from '#engine/read/timestamp.ts'
import * as serve from '#store/federation/serve.ts'

const params = open({ roomId: RoomId })
const query = open({ event_id: EventId })
const Time = t.Integer({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER })

export const getRoomState = op({
  id: 'getRoomState',
  method: 'GET',
  path: '/_matrix/federation/v1/state/:roomId',
  auth: 'server',
  limit: 'peer_history',
  atOnce: maxAtOnce,
  params,
  query,

  async run({ who, params: { roomId }, query: { event_id: eventId } }, ctx) {
    const room = await requireInRoom(ctx, roomId, who.origin)
    const { state } = await stateBeforeEvent(ctx, room, eventId)
    const authChain = await serve.authChain(ctx.sql, room.shard, state)
    const pdus = await listOf(ctx.sql, room, state)
    return jsonText(`{"auth_chain":${await listOf(ctx.sql, room, authChain)},"pdus":${pdus}}`)
  },
})

export const getRoomStateIds = op({
  id: 'getRoomStateIds',
  method: 'GET',
  path: '/_matrix/federation/v1/state_ids/:roomId',
  auth: 'server',
  limit: 'peer_history',
  atOnce: maxAtOnce,
  params,
  query,

  async run({ who, params: { roomId }, query: { event_id: eventId } }, ctx) {
    const room = await requireInRoom(ctx, roomId, who.origin)
    const { state } = await stateBeforeEvent(ctx, room, eventId)
    const authChain = await serve.authChain(ctx.sql, room.shard, state)
    return {
      pdu_ids: await idsOf(ctx.sql, room, state),
      auth_chain_ids: await idsOf(ctx.sql, room, authChain),
    }
  },
})

export const getEvent = op({
  id: 'getEvent',
  method: 'GET',
  path: '/_matrix/federation/v1/event/:eventId',
  auth: 'server',
  limit: 'peer',
  params: open({ eventId: EventId }),

  async run({ who, params: { eventId } }, ctx) {
    const found = await findServed(ctx.sql, eventId)
    if (!found || !isRelayed(found.row)) throw notFound('The event is not known here')
    const { row, room } = found
    // Not spec: this call is not on the list of those that the access list guards. It tells what they do.
    await requireNotKeptOut(ctx, room.roomId, who.origin)
    if (!(await serve.isInRoom(ctx.sql, room.shard, room.roomNid, who.origin)))
      throw forbidden(`${who.origin} has no user in the room of the event`)
    // State is known to every server in the room; of the rest, what its users might see.
    const isState = row.state_key_nid !== null
    if (!isState && (await hiddenFrom(ctx, room, who.origin, [row])).size > 0)
      throw forbidden('No user of the server may see the event')
    const erased = await erasedFor(ctx, room, who.origin, [row])
    const text = erased.size > 0 ? redactedText(room, row) : servedText(room, row)
    const head = { origin: ctx.serverName, origin_server_ts: ctx.clock() }
    return jsonText(`${JSON.stringify(head).slice(0, -1)},"pdus":[${text}]}`)
  },
})

export const getEventByTimestamp = op({
  id: 'getEventByTimestamp',
  method: 'GET',
  path: '/_matrix/federation/v1/timestamp_to_event/:roomId',
  auth: 'server',
  limit: 'peer',
  params,
  query: open({ ts: Time, dir: t.Union([t.Literal('f'), t.Literal('b')]) }),
  response: open({ event_id: EventId, origin_server_ts: t.Integer() }),

  async run({ who, params: { roomId }, query: { ts, dir } }, ctx) {
    const room = await requireInRoom(ctx, roomId, who.origin)
    const found = await servedAtTime(ctx, room, who.origin, ts, dir)
    if (!found) throw notFound('There is no event that way of the time')
    return { event_id: found.eventId, origin_server_ts: found.originServerTs }
  },
})

import { parseJson } from '#core/canonical-json.ts'
import { stripState, strippedEvent } from '#core/event/client-format.ts'
import type { Pdu } from '#core/event/pdu.ts'
import type { Json, JsonObject } from '#core/json.ts'
import { shardOfNid } from '#core/shard.ts'
import type { Sql } from '#store/db.ts'
import * as readEvents from '#store/room/read-events.ts'
import * as readState from '#store/room/read-state.ts'
import { shownTexts } from './shown-texts.ts'

/**
 * The state that those may see who are not in a room but were asked in.
 *
 * Spec: client-server-api/#stripped-state
 */
export const strippedTypes: readonly string[] = [
  'm.room.create',
  'm.room.name',
  'm.room.avatar',
  'm.room.topic',
  'm.room.join_rules',
  'm.room.canonical_alias',
  'm.room.encryption',
]

/** A membership event of a user who is not in the room, and where it became current. */
export type Asked = { shard: number; roomNid: number; eventNid: number; position: number }

/**
 * The stripped state that goes with invites and knocks: what came with the event, else that of the
 * room itself. The membership event always is in it.
 */
export async function readStripped(
  sql: Sql,
  asked: readonly Asked[],
): Promise<Map<number, { sender: string; state: JsonObject[] }>> {
  const found = new Map<number, { sender: string; state: JsonObject[] }>()
  if (asked.length === 0) return found
  const nids = asked.map((each) => each.eventNid)
  const rows = new Map(
    (await readEvents.byNids(sql, nids.map(shardOfNid), nids)).map((row) => [row.event_nid, row]),
  )
  const own: Asked[] = []
  for (const each of asked) {
    const row = rows.get(each.eventNid)
    if (!row) continue
    const event = parseJson(row.json) as Pdu
    const came = stripState(stateThatCame(row.internal))
    if (came.length === 0) own.push(each)
    const others = came.filter(
      ({ type, state_key: key }) => type !== 'm.room.member' || key !== event.state_key,
    )
    found.set(each.roomNid, { sender: event.sender, state: [...others, strippedEvent(event)] })
  }
  for (const [roomNid, state] of await readOwn(sql, own, found)) {
    const entry = found.get(roomNid)!
    entry.state.unshift(...state)
  }
  return found
}

function stateThatCame(internal: string | null): Json | undefined {
  if (internal === null) return undefined
  const { invite_room_state: invite, knock_room_state: knock } = JSON.parse(internal) as JsonObject
  return invite ?? knock
}

/** Out of the state of rooms that we are in. */
async function readOwn(
  sql: Sql,
  asked: readonly Asked[],
  found: ReadonlyMap<number, { sender: string }>,
): Promise<Map<number, JsonObject[]>> {
  const states = new Map<number, JsonObject[]>()
  if (asked.length === 0) return states
  const rows = await readState.keysAt(
    sql,
    asked.flatMap(({ shard, roomNid, position: at }) => [
      ...strippedTypes.map((type) => ({ shard, roomNid, at, type, stateKey: '' })),
      // Who asked is shown by name.
      { shard, roomNid, at, type: 'm.room.member', stateKey: found.get(roomNid)!.sender },
    ]),
  )
  const nids = rows.map((row) => row.event_nid)
  if (nids.length === 0) return states
  const own = new Set(asked.map((each) => each.eventNid))
  const texts = await shownTexts(sql, nids)
  for (const row of rows) {
    const text = texts.get(row.event_nid)
    if (text === undefined || own.has(row.event_nid)) continue
    const state = states.get(row.room_nid) ?? []
    state.push(strippedEvent(parseJson(text) as Pdu))
    states.set(row.room_nid, state)
  }
  return states
}

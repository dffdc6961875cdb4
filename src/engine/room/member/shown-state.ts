import { canonicalEvent } from '#core/event/hash.ts'
import { redactJson } from '#core/event/redact.ts'
import { packEventId, unpackEventId } from '#store/room/event-id.ts'
import * as redacted from '#store/room/redacted.ts'
import type { Parts } from '#engine/room/parts.ts'
import type { Known, Room } from '#engine/room/room.ts'
import { type Task, wait } from '#engine/room/task.ts'

/** A room's state as an invite or a knock shows it. Spec: client-server-api/#stripped-state */
const shown = [
  'm.room.create',
  'm.room.join_rules',
  'm.room.canonical_alias',
  'm.room.avatar',
  'm.room.encryption',
  'm.room.name',
  'm.room.topic',
]

/** What a room shows to those who are asked in or ask to be let in: federation events, JSON texts. */
export function* shownState(
  parts: Parts,
  room: Room,
  map: Room['state'],
  sender?: string,
): Task<string[]> {
  const wanted = [
    ...shown.map((type) => [type, ''] as const),
    ...(sender === undefined ? [] : [['m.room.member', sender] as const]),
  ]
  const numbers = yield* wait(parts.interner.intern({ stateKeys: wanted }))
  const nids = wanted.flatMap(([type, key]) => map.get(numbers.stateKey(type, key)) ?? [])
  const events = yield* parts.events.byNids(room, nids)
  return yield* textsOf(
    parts,
    room,
    nids.map((nid) => events.get(nid)!),
  )
}

/** The federation form of events, without what was taken back. */
function* textsOf(parts: Parts, room: Room, events: readonly Known[]): Task<string[]> {
  const ids = events.map(({ event }) => packEventId(event.eventId))
  const rows = yield* wait(
    redacted.among(parts.sql, room.shard, room.nid, ids).then((list) => list),
  )
  const gone = new Set(rows.map((row) => unpackEventId(row.target_id, room.version)))
  return events.map(({ event: { eventId, pdu } }) => {
    const text = canonicalEvent(room.version, pdu)!
    return gone.has(eventId) ? redactJson(room.version, text) : text
  })
}

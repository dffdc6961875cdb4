import type { RoomEvent } from '#core/event/pdu.ts'
import { isEventIdOf } from '#core/ids.ts'
import type { RoomPart } from '#store/room/batch.ts'
import { packEventId, unpackEventId } from '#store/room/event-id.ts'
import * as pendingRedactions from '#store/room/pending-redactions.ts'
import type { StateMap } from '#store/room/state-map.ts'
import { lookupIn } from '#engine/room/decide/decide.ts'
import type { Parts } from '#engine/room/parts.ts'
import { policyRedacted } from '#engine/room/policy/policy.ts'
import { redactionCounts } from '#engine/room/decide/redact.ts'
import type { Room } from '#engine/room/room.ts'
import { type Task, wait } from '#engine/room/task.ts'

/** What an event has to do with redactions. */
export type FoundRedactions = {
  /** Numbers of those that waited for it, and count. */
  readonly of: readonly number[]
  /** If it is one itself: its target, and whether that is known. One that does not count is left out. */
  readonly own: { readonly target: string; readonly applied: boolean } | undefined
}

/** Reads which redactions waited for them when a room is taken into memory. */
export function* loadRedactions({ sql }: Parts, room: Room): Task<void> {
  const rows = yield* wait(
    pendingRedactions.waiting(sql, room.shard, room.nid).then((list) => list),
  )
  for (const row of rows) wants(room, unpackEventId(row.target_id, room.version), row.redaction_nid)
}

const none: FoundRedactions = { of: [], own: undefined }

/** Nothing is to be asked of an event that is no redaction, and for which none waits. */
export const redactedByNone = (room: Room, event: RoomEvent): FoundRedactions | undefined =>
  event.type !== 'm.room.redaction' && !room.redactions.has(event.eventId) ? none : undefined

/**
 * Which redactions an event brings into effect: those that came before it, and itself.
 *
 * Spec: rooms/v3/#handling-redactions
 */
export function* redactionsOf(
  parts: Parts,
  room: Room,
  event: RoomEvent,
  before: StateMap,
): Task<FoundRedactions> {
  const of: number[] = []
  const waiting = room.redactions.get(event.eventId) ?? []
  const redactions = waiting.length > 0 ? yield* parts.events.byNids(room, waiting) : undefined
  for (const nid of waiting) {
    const redaction = redactions!.get(nid)!
    const state = yield* parts.states.load(room, redaction)
    if (yield* counts(parts, room, { redaction: redaction.event, target: event, state }))
      of.push(nid)
  }
  const { redacts } = event
  // What is no event ID has no target, and never will.
  if (event.type !== 'm.room.redaction' || redacts === undefined) return { of, own: undefined }
  if (!isEventIdOf(room.version, redacts)) return { of, own: undefined }
  const target = (yield* parts.events.byIds(room, [redacts])).get(redacts)
  if (!target) return { of, own: { target: redacts, applied: false } }
  const good = yield* counts(parts, room, {
    redaction: event,
    target: target.event,
    state: before,
  })
  return { of, own: good ? { target: redacts, applied: true } : undefined }
}

/** Writes what was found into the part that persists the event. A redaction that is not `good` has no effect. */
export function keepRedactions(
  room: Room,
  part: RoomPart,
  { nid, event }: { nid: number; event: RoomEvent },
  { of, own }: FoundRedactions,
  good: boolean,
): void {
  for (const redactionNid of of)
    part.redactions.push({ targetId: packEventId(event.eventId), redactionNid, applied: true })
  room.redactions.delete(event.eventId)
  if (of.length > 0) policyRedacted(room, event)
  if (!own || !good) return
  const { target, applied } = own
  part.redactions.push({ targetId: packEventId(target), redactionNid: nid, applied })
  if (!applied) wants(room, target, nid)
  else policyRedacted(room, { eventId: target })
}

function wants({ redactions }: Room, target: string, nid: number): void {
  const list = redactions.get(target)
  if (list) list.push(nid)
  else redactions.set(target, [nid])
}

function* counts(
  parts: Parts,
  room: Room,
  { redaction, target, state }: { redaction: RoomEvent; target: RoomEvent; state: StateMap },
): Task<boolean> {
  if (!room.create) return false
  const key = ['m.room.power_levels', ''] as const
  const numbers = yield* wait(parts.interner.intern({ stateKeys: [key] }))
  const lookup = yield* lookupIn(parts, room, state, [key], numbers)
  return redactionCounts(redaction, target, room.create, lookup)
}

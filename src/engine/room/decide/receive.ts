import { markerType } from '#core/content/msc2716.ts'
import type { PolicyServer } from '#core/content/m.room.policy.ts'
import type { RoomEvent } from '#core/event/pdu.ts'
import { eventFlags } from '#store/room/batch.ts'
import { packEventId } from '#store/room/event-id.ts'
import { claimEventIds } from '#store/room/intern.ts'
import { takeMarker } from '#engine/room/batch-send/markers.ts'
import { type Applied, applyEvent, type Judged } from '#engine/room/decide/apply.ts'
import { judgeBefore, stateBefore, unsigned } from '#engine/room/decide/decide.ts'
import { FromInbox } from '#engine/room/inbox/from-inbox.ts'
import type { Incoming } from '#engine/room/inbox/incoming.ts'
import type { Lane } from '#engine/room/lane.ts'
import { numbersFor } from '#engine/room/numbers.ts'
import { missingOf } from '#engine/room/inbox/prepare.ts'
import type { Parts } from '#engine/room/parts.ts'
import { judgeByPolicy } from '#engine/room/policy/policy.ts'
import { isOutlier, type Known, type Room } from '#engine/room/room.ts'
import { type Task, wait } from '#engine/room/task.ts'
import { RoomReloaded } from '#engine/room/work.ts'

/** An event of another server that lacks nothing: checks 4 to 7, and into the room. */
export class Receive extends FromInbox {
  protected *take(lane: Lane, room: Room | null): Task<Applied | undefined> {
    const { inbound } = lane
    const { incoming } = this
    if (!room) {
      inbound.discard(incoming.inboxIds)
      return undefined
    }
    const received = yield* receiveEvent(lane, room, incoming, { relayed: false })
    if ('applied' in received) {
      lane.ties.look(room)
      this.#lookForMarkers(lane, room, received.applied)
      return received.applied
    }
    if ('missing' in received) inbound.parkEvent(incoming, received.missing)
    else if ('unsigned' in received) inbound.parkUnsigned(incoming, received.unsigned)
    else inbound.discard(incoming.inboxIds)
    return undefined
  }

  /** MSC2716: also one that has come into the state by a resolution. */
  #lookForMarkers(lane: Lane, room: Room, { changes }: Applied): void {
    if (!lane.parts.history) return
    for (const { newEventNid } of changes.state) {
      const known = newEventNid === null ? undefined : lane.parts.events.get(newEventNid)
      if (known?.event.type === markerType) takeMarker(lane, room, known.event)
    }
  }
}

/** What became of an event: it lacks something, or the signature of a policy server, it is no news, or it is applied. */
export type ReceivedEvent =
  | { missing: ReadonlySet<string> }
  | { unsigned: PolicyServer }
  | { known: Known | undefined }
  | { applied: Applied }

/** Checks 4 to 7 of an event, and into the room in memory. */
export function* receiveEvent(
  lane: Lane,
  room: Room,
  incoming: Incoming,
  more: Pick<Judged, 'relayed' | 'txn' | 'internal'>,
): Task<ReceivedEvent> {
  const { parts, inbound } = lane
  const { event } = incoming
  const held = room.holds.inbound.ended
  if (held) yield* wait(held)
  // One that was new to this room is no news only if it came since, and then it is in memory: there
  // is nothing to ask for each event. But the room may have been reloaded, without what it builds on.
  const isNew = incoming.newTo === room && !parts.events.find(room, event.eventId)
  const cited = [...event.prevEvents, ...event.authEvents]
  if (!isNew) cited.push(event.eventId)
  const found = parts.events.findAll(room, cited) ?? (yield* parts.events.byIds(room, cited))
  const there = found.get(event.eventId)
  if (there && !isOutlier(there)) {
    parts.counters.duplicates++
    return { known: there }
  }
  const missing = missingOf(room, incoming, (id) => found.get(id))
  if (missing.size > 0) return { missing }
  if (!there && !(yield* claim(lane, event))) {
    parts.counters.dropped++
    parts.onDrop(room.roomId, incoming.origin, 'its event ID is that of another event')
    return { known: undefined }
  }
  const numbers = incoming.numbers ?? (yield* numbersFor(parts.interner, [event]))
  const prevs = event.prevEvents.flatMap((id) => found.get(id) ?? [])
  const before = incoming.before ?? (yield* stateBefore(parts, room, prevs))
  const signed = unsigned(incoming.rejection)
  const verdict = signed.allowed
    ? yield* judgeBefore(parts, room, event, { before, auths: found, numbers })
    : signed
  // 7: A policy server, if the room has one, has signed it, otherwise it is soft-failed.
  const policy =
    verdict.allowed && !incoming.behind
      ? yield* judgeByPolicy(parts, room, incoming, numbers)
      : undefined
  if (room.stale) throw new RoomReloaded()
  if (policy?.outcome === 'ask') return { unsigned: policy.server }
  const applied = yield* applyEvent(parts, room, {
    event,
    text: incoming.text,
    prevs,
    covers: prevs.some(isRefused)
      ? yield* covered(parts, room, prevs)
      : prevs.map(({ nid }) => nid),
    auths: found,
    before,
    numbers,
    verdict,
    ...more,
    ...(policy?.outcome === 'soft-fail' && { softFailed: policy.reason }),
    inboxIds: incoming.inboxIds,
    ...(incoming.behind && { behind: incoming.behind }),
    claimed: event.version.eventFormat === 'named',
    ...(there && { outlier: there }),
  })
  inbound.decided(incoming)
  return { applied }
}

const isRefused = ({ flags }: Known) =>
  (flags & (eventFlags.rejected | eventFlags.softFailed)) !== 0

/** Behind so many refused events in a row nobody looks for extremities. */
const maxRefused = 100

/**
 * What an event covers: the events that it cites and, behind those of them that were rejected or
 * soft-failed, and so never were extremities, what these cite.
 */
function* covered(parts: Parts, room: Room, prevs: readonly Known[]): Task<number[]> {
  const covers = new Set(prevs.map(({ nid }) => nid))
  let open = prevs.filter(isRefused)
  for (let seen = 0; open.length > 0 && seen < maxRefused; seen += open.length) {
    const behind = yield* parts.events.byIds(
      room,
      open.flatMap(({ event }) => event.prevEvents),
    )
    const fresh = [...behind.values()].filter(({ nid }) => !covers.has(nid))
    for (const { nid } of fresh) covers.add(nid)
    open = fresh.filter(isRefused)
  }
  return [...covers]
}

/** v1–v2: other servers choose event IDs, so one is claimed for its room first. False if it is taken. */
export function* claim({ parts, roomId, shard }: Lane, event: RoomEvent): Task<boolean> {
  if (event.version.eventFormat !== 'named') return true
  const claims = [{ eventId: packEventId(event.eventId), shard, roomId }]
  return (yield* wait(claimEventIds(parts.sql, claims))).size === 0
}

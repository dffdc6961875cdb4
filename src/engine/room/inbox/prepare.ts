import { createOfRoomId } from '#core/ids.ts'
import type { NeededKeys } from '#core/event/signatures.ts'
import { type Incoming, type Raw, judge } from '#engine/room/inbox/incoming.ts'
import type { Lane } from '#engine/room/lane.ts'
import { lookupAcl } from '#engine/room/inbox/acl.ts'
import { isOurs } from '#engine/room/member/local-member.ts'
import { numbersFor } from '#engine/room/numbers.ts'
import { ReceiveOutside } from '#engine/room/member/outside.ts'
import { isOutlier, type Room } from '#engine/room/room.ts'
import type { Task } from '#engine/room/task.ts'

export type Prepared = {
  /** They lack nothing. */
  ready: Incoming[]
  /** They lack keys, which are to be asked for. */
  wantKeys: { raw: Raw; keys: readonly NeededKeys[] }[]
  /** Rows of which keys could not be had. */
  inVain: number[]
}

/**
 * Takes rows of the inbox through checks 1 to 3, and finds out what each lacks. It is done for many at
 * once: one look-up in the database serves them all.
 */
export function* prepare(lane: Lane, batch: readonly Raw[]): Task<Prepared> {
  const { parts } = lane
  const prepared: Prepared = { ready: [], wantKeys: [], inVain: [] }
  const room = yield* lane.load()
  if (!room || (parts.isJoining(lane.roomId) && !isOurs(parts, room))) {
    yield* lane.inbound.unknownRoom(batch)
    return prepared
  }
  const acl = yield* lookupAcl(parts, room)
  const accepted: Incoming[] = []
  for (const raw of batch) {
    // The server ACL, again in the lane: it may have changed since the intake.
    if (!room.allows(raw.origin, acl)) lane.inbound.drop(raw, 'the server may not take part')
    else accept(lane, room, raw, accepted, prepared)
    yield
  }
  if (isOurs(parts, room)) yield* sortOut(lane, room, accepted, prepared)
  else lane.inbound.again(accepted.map(outsideItem))
  return prepared
}

function accept(lane: Lane, room: Room, raw: Raw, accepted: Incoming[], prepared: Prepared): void {
  const { parts, inbound } = lane
  const began = performance.now()
  const judged = judge(raw, room.version, room.roomId, parts.keys, parts.now())
  parts.times.verify.add(performance.now() - began)
  if (judged.outcome === 'drop') inbound.drop(raw, judged.reason)
  else if (judged.outcome === 'missing') {
    if (raw.lastTry || parts.keys.askedInVain(judged.keys)) prepared.inVain.push(...idsOf(raw))
    else prepared.wantKeys.push({ raw, keys: judged.keys })
  } else {
    const { incoming } = judged
    if (judged.redacted) parts.counters.redacted++
    const twin =
      inbound.park.get(incoming.event.eventId) ??
      accepted.find(({ event }) => event.eventId === incoming.event.eventId)
    // The same event from another server: what becomes of the first becomes of both.
    if (twin) inbound.joinParked(twin, incoming.inboxIds)
    else accepted.push(incoming)
  }
}

const idsOf = ({ inboxId }: Raw): number[] => (inboxId === undefined ? [] : [inboxId])

const outsideItem = (incoming: Incoming) => ({ work: new ReceiveOutside(incoming), alone: false })

/** Duplicates go, what lacks ancestors is parked, the rest is ready, in the order in which it came. */
export function* sortOut(
  lane: Lane,
  room: Room,
  accepted: readonly Incoming[],
  prepared: Pick<Prepared, 'ready'>,
): Task<void> {
  const { parts, inbound } = lane
  const cited = new Set<string>()
  for (const { event } of accepted) {
    cited.add(event.eventId)
    for (const id of event.prevEvents) cited.add(id)
    for (const id of event.authEvents) cited.add(id)
  }
  const found = yield* parts.events.byIds(room, cited)
  const numbers = yield* numbersFor(
    parts.interner,
    accepted.map(({ event }) => event),
  )
  // Decided before what comes behind it: whoever cites it does not lack it.
  const coming = new Set<string>()
  for (const incoming of accepted) {
    const { event } = incoming
    incoming.numbers = numbers
    const there = found.get(event.eventId)
    if (there && !isOutlier(there)) {
      parts.counters.duplicates++
      inbound.discard(incoming.inboxIds)
      continue
    }
    if (!there) incoming.newTo = room
    const missing = missingOf(room, incoming, (id) => found.get(id))
    if (missing.size === 0 || missing.isSubsetOf(coming)) {
      prepared.ready.push(incoming)
      coming.add(event.eventId)
    } else inbound.parkEvent(incoming, missing)
  }
}

const nothing: ReadonlySet<string> = new Set()

/** What an event cites and we lack: prev_events of which we know the state, auth events at all. */
export function missingOf(
  room: Room,
  { event, before }: Incoming,
  find: (id: string) => { flags: number } | undefined,
): ReadonlySet<string> {
  let missing: Set<string> | undefined
  const lacks = (id: string) => (missing ??= new Set()).add(id)
  const createId = room.version.createEventIsRoomId ? createOfRoomId(room.roomId) : undefined
  // Where the state was fetched, what came before need not be here.
  if (!before)
    for (const id of event.prevEvents) {
      const prev = find(id)
      if (!prev || isOutlier(prev)) lacks(id)
    }
  for (const id of event.authEvents) if (id !== createId && !find(id)) lacks(id)
  return missing ?? nothing
}

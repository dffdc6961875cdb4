import { membershipOf } from '#core/content/m.room.member.ts'
import { domainOf } from '#core/ids.ts'
import type { RoomEvent } from '#core/event/pdu.ts'
import { emptyPart, eventFlags, type NewEvent, type RoomPart } from '#store/room/batch.ts'
import { packEventId } from '#store/room/event-id.ts'
import type { Interned } from '#store/room/intern.ts'
import { type Changes, changesTo, countServers } from '#engine/room/decide/changes.ts'
import { FromInbox } from '#engine/room/inbox/from-inbox.ts'
import { knockJudges } from '#engine/room/member/knock-state.ts'
import type { Lane } from '#engine/room/lane.ts'
import { memberOf, numbersFor } from '#engine/room/numbers.ts'
import { type Parts, shardOfRoom } from '#engine/room/parts.ts'
import { isOutlier, isRejected, type Known, type Room } from '#engine/room/room.ts'
import { type Task, wait } from '#engine/room/task.ts'
import { type Outcome, RoomReloaded } from '#engine/room/work.ts'

/**
 * Memberships of local users in rooms that we are not in: invites, their rejection, their withdrawal.
 * Such an event stands beside the graph, and all that we know of the room's state is who of ours is
 * what in it.
 */

/** An event beside the graph: its row, and how it is remembered. */
export function outlierOf(
  parts: Parts,
  room: Pick<Room, 'shard'>,
  event: RoomEvent,
  row: {
    text: string
    numbers: Interned
    internal?: string
    rejection?: string
    authNids?: number[]
  },
): { known: Known; row: NewEvent } {
  const { numbers, text, rejection } = row
  const flags = eventFlags.outlier | (rejection === undefined ? 0 : eventFlags.rejected)
  const known: Known = {
    nid: shardOfRoom(parts, room).nextNid(),
    event,
    typeNid: numbers.type(event.type),
    stateKeyNid: event.stateKey === undefined ? null : numbers.stateKey(event.type, event.stateKey),
    senderNid: numbers.user(event.sender),
    authNids: row.authNids ?? [],
    bytes: 500 + 3 * text.length,
    flags,
    snapshotNid: null,
    chain: null,
    chainIndex: null,
    authOrder: null,
  }
  return {
    known,
    row: {
      eventNid: known.nid,
      eventId: packEventId(event.eventId),
      typeNid: known.typeNid,
      stateKeyNid: known.stateKeyNid,
      senderNid: known.senderNid,
      depth: event.depth,
      originServerTs: event.originServerTs,
      authNids: known.authNids,
      json: text,
      internal: row.internal ?? null,
      rejection: rejection ?? null,
      claimed: false,
      chain: null,
      chainIndex: null,
      position: null,
      ingest: 1,
      flags,
      snapshotNid: null,
      destinationSet: null,
      pushFlags: 0,
      prevNids: [],
    },
  }
}

/** Whether an event stands beside the graph without what it cites, as an invite from outside does. */
export const lacksAuth = ({ flags, authOrder, authNids, event }: Known): boolean =>
  isOutlier({ flags }) && authOrder === null && authNids.length < event.authEvents.length

/** Notes what such an event cites, now that it is known, as the n-th row that the part writes. */
export function noteAuth(
  parts: Parts,
  room: Room,
  known: Known,
  cited: readonly (Pick<Known, 'nid' | 'authOrder'> | undefined)[],
  { part, ingest }: { part: RoomPart; ingest: number },
): Known {
  const authNids = cited.flatMap((each) => each?.nid ?? [])
  const noted: Known = { ...known, authNids }
  part.revised.push({
    eventNid: known.nid,
    authNids,
    chain: null,
    chainIndex: null,
    position: null,
    ingest,
    flags: known.flags,
    snapshotNid: null,
    destinationSet: null,
    pushFlags: 0,
    prevNids: [],
  })
  if (!isRejected(known)) room.auth.add(noted, cited, part)
  room.uncommitted.set(noted.event.eventId, noted)
  parts.events.add(noted)
  return noted
}

/** Makes a member event of one of our users what the room's state says of them. */
export function* applyOutside(
  parts: Parts,
  room: Room,
  event: RoomEvent,
  more: { text: string; internal?: string; claimed: boolean; inboxIds?: readonly number[] },
): Task<{ known: Known; outcome: Outcome }> {
  const numbers = yield* numbersFor(parts.interner, [event])
  const made = outlierOf(parts, room, event, { ...more, numbers })
  const { known } = made
  let changes: Changes
  for (;;) {
    const { revision } = room
    const state = room.state.with([[known.stateKeyNid!, known.nid]])
    changes = yield* changesTo(parts, room, state, known, numbers)
    if (room.stale) throw new RoomReloaded()
    if (room.revision !== revision) continue
    room.state = state
    break
  }
  const part = emptyPart(room.shard, room.nid)
  part.events.push({ ...made.row, claimed: more.claimed })
  part.state.push(...changes.state)
  part.inbox.push(...(more.inboxIds ?? []))
  countServers(room, changes)
  room.revision++
  room.uncommitted.set(event.eventId, known)
  parts.events.add(known)
  return { known, outcome: { part, positions: 1, ingests: 1 } }
}

/** A member event that came for one of our users in a room that we are not in. */
export class ReceiveOutside extends FromInbox {
  protected *take(
    lane: Lane,
    room: Room | null,
  ): Task<{ known: Known; outcome: Outcome } | undefined> {
    const { parts, inbound } = lane
    const { event, text, inboxIds, origin } = this.incoming
    if (room && (yield* withdraws(parts, room, event))) {
      const claimed = event.version.eventFormat === 'named'
      return yield* applyOutside(parts, room, event, { text, claimed, inboxIds })
    }
    parts.counters.dropped++
    parts.onDrop(lane.roomId, origin, 'we are not in the room')
    inbound.discard(inboxIds)
    return undefined
  }
}

/**
 * Whether an event takes back the invite, or refuses the knock, of a user of ours. Without the room's
 * state that cannot be judged in full: it must rest on what we know, and come from the server that
 * the invite came from, or from one that has a say in the room as far as we were shown.
 */
function* withdraws(parts: Parts, room: Room, event: RoomEvent): Task<boolean> {
  const user = memberOf(event)
  const membership = membershipOf(event.content)
  if (user === undefined || domainOf(user) !== parts.signing.serverName) return false
  if (membership !== 'leave' && membership !== 'ban') return false
  const numbers = yield* numbersFor(parts.interner, [event])
  const nid = room.state.get(numbers.stateKey('m.room.member', user))
  if (nid === undefined) return false
  const before = (yield* parts.events.byNids(room, [nid])).get(nid)!
  const was = membershipOf(before.event.content)
  if (was !== 'invite' && was !== 'knock') return false
  if (!event.authEvents.includes(before.event.eventId)) return false
  const server = domainOf(event.sender)
  if (was === 'invite') return server === domainOf(before.event.sender)
  if (server === undefined || event.sender === user) return false
  return (yield* wait(knockJudges(parts, nid))).has(server)
}

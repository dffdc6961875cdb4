import { conflict, forbidden, invalidParam, notFound, unavailable } from '#core/error.ts'
import { historyVisibilityOf } from '#core/content/m.room.history_visibility.ts'
import { emptyPart } from '#store/room/batch.ts'
import * as importChains from '#store/room/import-chains.ts'
import { makeWhole } from '#store/room/snapshots.ts'
import { type Answer, Asked } from '#engine/room/asked.ts'
import { lookupIn } from '#engine/room/decide/decide.ts'
import { followingOf } from '#engine/room/import/depth.ts'
import { leaderOf, mayMark } from '#engine/room/import/leader.ts'
import type { Lane } from '#engine/room/lane.ts'
import { isOurs } from '#engine/room/member/local-member.ts'
import { type Parts, shardOfRoom } from '#engine/room/parts.ts'
import type { Room } from '#engine/room/room.ts'
import { citedBy, maxPrevs } from '#engine/room/local/send.ts'
import { type Task, wait } from '#engine/room/task.ts'
import { type Outcome, RoomReloaded } from '#engine/room/work.ts'
import type { OpenImport } from '#engine/worker/import-steps.ts'

/** What is known of an import before it begins. */
export type Plan = {
  mode: string
  /** Who ties it into the room. */
  leader: string
  /** The event before which it is read; null: after all that is there. */
  before_event_nid: number | null
  room_version: string
  joined_members: number
  remote_servers: number
}

/** Refuses what could not be imported here, and says what the importer should know. */
export function* preflight(
  parts: Parts,
  room: Room | null,
  wish: OpenImport,
): Task<{ plan: Plan; warnings: string[] }> {
  if (room?.kind !== 'joined' || !isOurs(parts, room))
    throw notFound('No user of this server is in the room')
  if (!wish.isAdmin) yield* requireMarking(parts, room, wish.userId)
  const { mode, federate, position } = wish
  const remote = [...room.servers.values()].filter(
    ({ name, joined }) => joined > 0 && name !== parts.signing.serverName,
  )
  if (remote.length > 0 && !federate)
    throw conflict(
      `Users of ${remote.length} other servers are in the room: they would read the history in another order, ` +
        'or not at all. Import into a history room (archive), or say that it is to be federated',
    )
  if ((mode === 'fresh' || mode === 'archive') && position !== null)
    throw invalidParam('A position is for `insert`: other modes come after all that is there')
  if (mode === 'fresh' || mode === 'archive') {
    if (yield* wait(importChains.hasMessages(parts.sql, room.shard, room.nid)))
      throw conflict('There are messages in the room already: use `insert`, `append` or `archive`')
  }
  const leader = yield* leaderOf(parts, room, room.state, [wish.userId])
  if (!leader)
    throw conflict(
      'No user of this server with power in the room is joined to it: somebody has to invite',
    )
  const next = yield* followingOf(parts, room, position, Number.MAX_SAFE_INTEGER)
  return {
    plan: {
      mode,
      leader: leader.userId,
      before_event_nid: next?.event_nid ?? null,
      room_version: room.version.id,
      joined_members: [...room.servers.values()].reduce((sum, { joined }) => sum + joined, 0),
      remote_servers: remote.length,
    },
    warnings: yield* warningsOf(parts, room, { leader, remote: remote.length }),
  }
}

function* warningsOf(
  parts: Parts,
  room: Room,
  { leader, remote }: { leader: { mayInvite: boolean; mayMark: boolean }; remote: number },
): Task<string[]> {
  const types = [
    'm.room.encryption',
    'm.room.history_visibility',
    'm.room.join_rules',
    'm.room.retention',
  ]
  const keys = types.map((type) => [type, ''] as const)
  const numbers = yield* wait(parts.interner.intern({ stateKeys: keys }))
  const lookup = yield* lookupIn(parts, room, room.state, keys, numbers)
  const warnings: string[] = []
  if (lookup('m.room.encryption', ''))
    warnings.push('The room is encrypted: clients warn of events that are not')
  const visibility = historyVisibilityOf(lookup('m.room.history_visibility', '')?.content)
  if (visibility === 'joined' || visibility === 'invited')
    warnings.push('Only those who are in the room by now will see the imported history')
  if (lookup('m.room.join_rules', '')?.content['join_rule'] !== 'public' && !leader.mayInvite)
    warnings.push('Nobody of this server may invite: those who speak must be in the room already')
  if (lookup('m.room.retention', '') && remote > 0)
    warnings.push('The room has a retention policy: other servers may hide what is older')
  if (!leader.mayMark)
    warnings.push('Nobody of this server may send the marker: clients learn of the history later')
  return warnings
}

/** Whoever may not mark an import in the room has no business in its history. */
export function* requireMarking(parts: Parts, room: Room, userId: string): Task<void> {
  if (!(yield* mayMark(parts, room, room.state, userId)))
    throw forbidden(`${userId} is not in the room, or may not send the marker of an import there`)
}

/**
 * What begins or ties in an import cites every end of the room, and one event more: the state before it would be
 * another than the room's otherwise. Rooms with more ends are about to be tied together.
 */
export function requireFewEnds(room: Room): void {
  if (room.extremities.size >= maxPrevs)
    throw unavailable('The room has too many ends just now: they are being tied together', 5_000)
}

/** What a session begins with. */
export type Opened = {
  sessionNid: number
  roomNid: number
  chain: number
  snapshot: number
  anchors: number[]
}

/** Begins the chain of an import on what the room is now. */
export class Open extends Asked<Opened> {
  readonly bytes = 2_000
  #opened: Opened | undefined

  constructor(answer: Answer<Opened>) {
    super(answer)
  }

  *decide(lane: Lane): Task<Outcome | null> {
    const { parts } = lane
    const room = yield* lane.load()
    if (!room) throw notFound('The room is not known')
    requireFewEnds(room)
    const shard = shardOfRoom(parts, room)
    const { state, revision } = room
    // One of its own: a row that live commits count on is not to be locked by an import.
    const whole = makeWhole(shard.nextNid(), room.nid, state)
    yield
    if (room.stale || room.revision !== revision) throw new RoomReloaded()
    const part = emptyPart(room.shard, room.nid)
    part.snapshots.push(whole.row)
    const chain = shard.nextNid()
    part.importChains.push({ chain, publishedAt: null, hiddenAt: null })
    this.#opened = {
      sessionNid: shard.nextNid(),
      roomNid: room.nid,
      chain,
      snapshot: whole.row.snapshotNid,
      anchors: citedBy(room).map(({ nid }) => nid),
    }
    return { part, positions: 0, ingests: 0 }
  }

  answerFor(): Opened {
    return this.#opened!
  }
}

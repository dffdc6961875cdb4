import { MatrixError, conflict } from '#core/error.ts'
import { domainOf } from '#core/ids.ts'
import type { JsonObject } from '#core/json.ts'
import * as sessions from '#store/import/sessions.ts'
import * as importChains from '#store/room/import-chains.ts'
import { SnapshotCache } from '#store/room/snapshot-cache.ts'
import { load } from '#store/room/snapshots.ts'
import { unpackEventId } from '#store/room/event-id.ts'
import * as localTxns from '#store/room/local-txns.ts'
import { Intake } from '#engine/room/import/intake.ts'
import { type Leader, leaderOf, markerType } from '#engine/room/import/leader.ts'
import { type MemberWish, type Refusals, TakeMembers } from '#engine/room/import/members.ts'
import { type Drafts, importTxn, Publish, type Published } from '#engine/room/import/publish.ts'
import type { Staging } from '#engine/room/import/staging.ts'
import { withPolicySignatures } from '#engine/room/policy/policy.ts'
import type { Lane } from '#engine/room/lane.ts'
import type { Room } from '#engine/room/room.ts'
import { type Task, wait } from '#engine/room/task.ts'
import type { Landed, LocalEvent } from '#engine/worker/protocol.ts'

export type Send = (roomId: string, event: LocalEvent) => Promise<Landed>

/** Makes an import readable; its answer, as JSON. Asked again, it goes on where it was broken off. */
export async function commitImport(lane: Lane, staging: Staging, send: Send): Promise<string> {
  const { sql } = lane.parts
  const { row } = staging
  const chain = await importChains.stateOf(sql, row.shard, row.chain)
  const leader = await ask(lane, (room) =>
    leaderOf(lane.parts, room, room.state, [staging.wish.userId]),
  )
  if (!leader)
    throw conflict('No user of this server with power in the room is joined to it any more')
  const answer =
    chain?.published_at === null || !chain
      ? await finishChain(lane, staging, leader)
      : await publishedBefore(lane, staging, leader)
  if (answer.published) {
    const marker = await mark(lane, staging, leader, answer.published, send)
    answer.told = {
      ...answer.told,
      merge_event_id: answer.published.mergeEventId,
      ...(marker !== undefined && { marker_event_id: marker }),
    }
  }
  const told = JSON.stringify({
    session_id: row.session_id,
    accepted: row.accepted,
    duplicates: row.duplicates,
    failed: row.failed,
    leader: leader.userId,
    ...answer.told,
  })
  await sessions.setState(sql, row, 'committed', told)
  row.state = 'committed'
  row.answer = told
  return told
}

type Answer = { published: Published | undefined; told: JsonObject }

/** Writes what is still to come of the chain, and publishes it. */
async function finishChain(lane: Lane, staging: Staging, leader: Leader): Promise<Answer> {
  const { row } = staging
  const intake = new Intake(lane, staging, { batch: row.next_batch, records: [], namedOnly: false })
  await intake.settleAll()
  await leave(lane, staging)
  const told = await note(lane, row, intake)
  if (!staging.tip) return { published: undefined, told }
  return { published: await publish(lane, staging, leader), told }
}

type Settled = { degraded: number; lost: JsonObject[] }

const settledBefore = ({ answer }: sessions.SessionRow): Settled =>
  answer === null ? { degraded: 0, lost: [] } : (JSON.parse(answer) as Settled)

/** Writes down what became of records that waited, before it is published: it is told after a crash as well. */
async function note(lane: Lane, row: sessions.SessionRow, intake: Intake): Promise<Settled> {
  const before = settledBefore(row)
  const lost = intake.tally.failed.map(({ src_id, errcode, error }) => ({ src_id, errcode, error }))
  const settled = {
    degraded: before.degraded + intake.degraded,
    lost: [...before.lost, ...lost],
  }
  row.answer = JSON.stringify(settled)
  await sessions.setState(lane.parts.sql, row, 'open', row.answer)
  return settled
}

/** Ties it into the room, signed by its policy server if it has one. What is history that server is not asked of. */
function publish(lane: Lane, staging: Staging, leader: Leader): Promise<Published> {
  const drafts: Drafts = new Map()
  return withPolicySignatures(lane, (signed) => {
    const draft = signed && drafts.get(signed.event.type)
    if (draft) Object.assign(draft, signed)
    return lane.perform((answer) => new Publish(answer, staging, leader.userId, drafts))
  })
}

/** It was published, and the server ended before it could say so. */
async function publishedBefore(lane: Lane, { row }: Staging, leader: Leader): Promise<Answer> {
  const told = settledBefore(row)
  const txn = importTxn(leader.userId, row.session_id, 'merge')
  const found = await localTxns.find(lane.parts.sql, lane.shard, txn)
  if (!found) return { published: undefined, told }
  const mergeEventId = unpackEventId(found.event_id, lane.room!.version)
  return { published: { mergeEventId, boundaryEventId: undefined }, told }
}

/** Whoever came for the import alone leaves at its end. */
async function leave(lane: Lane, staging: Staging): Promise<void> {
  const { row } = staging
  const wishes = await ask(lane, function* (room) {
    const { sql } = lane.parts
    const base = (yield* wait(
      load(sql, row.shard, room.nid, [row.base_snapshot], new SnapshotCache(1)),
    )).get(row.base_snapshot)!
    const changed = base.state.diff(staging.state).flatMap((change) => change.new ?? [])
    const members = yield* lane.parts.events.byNids(room, changed)
    const found: MemberWish[] = []
    for (const { event } of members.values()) {
      const user = event.stateKey
      if (event.type !== 'm.room.member' || user === undefined) continue
      const { membership } = event.content
      if (membership !== 'join' && membership !== 'invite') continue
      if (staging.people.get(user)?.stays || domainOf(user) !== lane.parts.signing.serverName)
        continue
      const ts = row.last_ts ?? lane.parts.now()
      found.push({ sender: user, target: user, content: { membership: 'leave' }, ts })
    }
    return found
  })
  if (wishes.length === 0 && !staging.unsaved) return
  await lane.perform<Refusals>((answer) => new TakeMembers(answer, staging, wishes))
}

/**
 * Tells clients that there is more to read than they have.
 *
 * MSC2716: the marker event
 */
async function mark(
  lane: Lane,
  { row }: Staging,
  leader: Leader,
  { mergeEventId, boundaryEventId }: Published,
  send: Send,
): Promise<string | undefined> {
  if (!leader.mayMark) return undefined
  const reference = boundaryEventId ?? mergeEventId
  try {
    const { eventId } = await send(lane.roomId, {
      sender: leader.userId,
      type: markerType,
      stateKey: row.session_id,
      content: JSON.stringify({
        insertion_event_reference: reference,
        'org.matrix.msc2716.marker.insertion': reference,
      }),
      txn: importTxn(leader.userId, row.session_id, 'marker'),
    })
    return eventId
  } catch (error) {
    // What is imported is there without it, too.
    if (error instanceof MatrixError && error.status < 500 && error.status !== 429) return undefined
    throw error
  }
}

/** Looks at the room, among the turns of the worker. */
export function ask<T>(lane: Lane, look: (room: Room) => Task<T>): Promise<T> {
  return lane.parts.turns.seat(true).run(
    (function* () {
      const room = yield* lane.load()
      if (!room) throw new Error(`${lane.roomId} is gone`)
      return yield* look(room)
    })(),
  )
}

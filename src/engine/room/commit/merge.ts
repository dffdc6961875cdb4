import { emptyPart, type Placement, type RoomPart } from '#store/room/batch.ts'
import type { Outcome } from '#engine/room/work.ts'

/** Where the numbers of a shard's next batch begin. */
export type Counts = { position: number; ingest: number }

/**
 * Puts the outcomes of one room together in the order in which they were decided, and turns their
 * positions and ingest numbers, which count from 1, into those of the shard. Advances `counts`.
 */
export function mergeOutcomes(outcomes: readonly Outcome[], counts: Counts): RoomPart {
  const { shard, roomNid } = outcomes[0]!.part
  const merged = emptyPart(shard, roomNid)
  for (const { part, positions, ingests } of outcomes) {
    append(merged, part, counts)
    counts.position += positions
    counts.ingest += ingests
  }
  return merged
}

function append(merged: RoomPart, part: RoomPart, { position: base, ingest }: Counts): void {
  const placed = <P extends Placement>(event: P): P => ({
    ...event,
    position: event.position === null ? null : base + event.position,
    ingest: event.ingest === null ? null : ingest + event.ingest,
  })
  const at = <P extends { position: number }>(row: P): P => ({
    ...row,
    position: base + row.position,
  })
  merged.created ??= part.created
  if (part.room) merged.room = { ...merged.room, ...part.room }
  for (const event of part.events) merged.events.push(placed(event))
  for (const event of part.revised) merged.revised.push(placed(event))
  // One that comes and goes in between is in both lists, and is never a row.
  add(merged.extremities.added, part.extremities.added)
  add(merged.extremities.removed, part.extremities.removed)
  add(merged.missing.added, part.missing.added)
  add(merged.missing.arrived, part.missing.arrived)
  add(merged.spans, part.spans)
  for (const { chain, publishedAt, hiddenAt } of part.importChains)
    merged.importChains.push({
      chain,
      publishedAt: publishedAt === null ? null : base + publishedAt,
      hiddenAt: hiddenAt === null ? null : base + hiddenAt,
    })
  add(merged.history, part.history)
  add(merged.snapshots, part.snapshots)
  for (const change of part.state) merged.state.push(at(change))
  merged.staged ??= part.staged
  if (part.flip) merged.flip = at(part.flip)
  add(merged.auth, part.auth)
  add(merged.authPending, part.authPending)
  add(merged.redactions, part.redactions)
  for (const mention of part.mentions) merged.mentions.push(at(mention))
  add(merged.txns, part.txns)
  add(merged.inbox, part.inbox)
  add(merged.joinsDone, part.joinsDone)
}

/** Most lists of most parts are empty. */
function add<T>(to: T[], from: readonly T[]): void {
  for (const each of from) to.push(each)
}

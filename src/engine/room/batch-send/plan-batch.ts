import { batchType, insertionType } from '#core/content/msc2716.ts'
import type { RoomVersion } from '#core/room-version.ts'
import { type Draft, linkDraft, readDrafts } from '#engine/room/batch-send/drafts.ts'
import type { BatchWish } from '#engine/worker/protocol.ts'

/** The events of one request, oldest first: state, then all that reads, the last of it where the batch hangs. */
export type BatchPlan = {
  state: readonly Draft[]
  /** The insertion event on which an older batch may hang, what was asked for, the batch event. */
  batch: readonly Draft[]
  /** An insertion event to hang the batch on, if it is the first. */
  base: Draft | undefined
  nextBatchId: string
}

/** Synapse takes as many letters. */
const newBatchId = () => crypto.randomUUID().replaceAll('-', '').slice(0, 12)

/** MSC2716: what a batch consists of beside the events that were asked for. */
export function planBatch(version: RoomVersion, wish: BatchWish): BatchPlan {
  const { sender, batchId } = wish
  const state = readDrafts(wish.stateAtStart, 'state_events_at_start', true)
  const events = readDrafts(wish.events, 'events', false)
  const link = (type: string, id: string, { timestamp }: Draft) =>
    linkDraft(version, { type, batchId: id, sender, timestamp })
  const oldest = events[0]!
  const newest = events.at(-1)!
  const nextBatchId = newBatchId()
  const hangsOn = batchId ?? newBatchId()
  return {
    state,
    batch: [link(insertionType, nextBatchId, oldest), ...events, link(batchType, hangsOn, newest)],
    base: batchId === undefined ? link(insertionType, hangsOn, newest) : undefined,
    nextBatchId,
  }
}

import { BatchSend } from '#engine/room/batch-send/batch-send.ts'
import type { Lane } from '#engine/room/lane.ts'
import type { BatchSent, BatchWish } from '#engine/worker/protocol.ts'

const underWay = new WeakMap<Lane, Map<string, Promise<BatchSent>>>()

/** Puts a batch of history into a room; the same request under way twice is one batch. */
export async function sendBatch(lane: Lane, wish: BatchWish): Promise<BatchSent> {
  const requests = underWay.get(lane) ?? new Map<string, Promise<BatchSent>>()
  underWay.set(lane, requests)
  const same = requests.get(wish.request)
  if (same) return same
  const sending = lane.perform<BatchSent>((answer) => new BatchSend(answer, wish))
  requests.set(wish.request, sending)
  try {
    return await sending
  } finally {
    requests.delete(wish.request)
  }
}

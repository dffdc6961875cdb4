import type { HistoryStory } from './history-story.ts'

/** The application service that pours, as its registration file says it. */
export const registration = {
  id: 'importer',
  url: null,
  as_token: 'as-importer',
  hs_token: 'hs-importer',
  sender_localpart: 'importer',
  namespaces: { users: [{ regex: '@(maria|ricky).*', exclusive: true }] },
  rate_limited: false,
}

/** Puts so many messages between two others, newest first as MSC2716 wants it; how long it takes and how it reads. */
export async function pourHistory(
  story: HistoryStory,
  messages: number,
  size = 100,
): Promise<{ seconds: number; isInOrder: boolean }> {
  const { roomId, ids } = await story.talk(['a', 'b'])
  const texts = Array.from({ length: messages }, (_, index) => `${index}`)
  const began = performance.now()
  let batchId: string | undefined
  for (let end = messages; end > 0; end -= size) {
    const some = texts.slice(Math.max(0, end - size), end)
    batchId = (await story.batch(roomId, ids[0]!, some, batchId)).next_batch_id
  }
  const seconds = (performance.now() - began) / 1000
  const read = await story.texts(roomId)
  return { seconds, isInOrder: Bun.deepEquals(read, ['a', ...texts, 'b']) }
}

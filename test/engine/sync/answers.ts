import type { JoinedRoom, SyncAnswer } from '#test/engine/read/story.ts'

/** What an answer has of a room among the joined. */
export const joined = (answer: SyncAnswer, { roomId }: { roomId: string }): JoinedRoom => {
  const room = answer.rooms?.join?.[roomId]
  if (!room) throw new Error(`The room is not among the joined: ${JSON.stringify(answer)}`)
  return room
}
export const ids = (events: readonly { event_id: string }[] = []) =>
  events.map((event) => event.event_id)
/** Type and state key of events, sorted. */
export const keys = (events: readonly { type: string; state_key?: string }[] = []) =>
  events.map((event) => `${event.type}|${event.state_key}`).sort()

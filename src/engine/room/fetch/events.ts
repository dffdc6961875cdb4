import { parsePdu } from '#core/event/check.ts'
import type { JsonObject } from '#core/json.ts'
import { RemoteError } from '#core/error.ts'
import type { RoomVersion } from '#core/room-version.ts'
import { isTransient } from '#engine/federation/answer.ts'
import { getEvent } from '#engine/federation/remote-events.ts'
import type { Deadline } from '#engine/room/fetch/deadline.ts'

/** How many are asked for at once, and of how many servers one is. */
const atOnce = 8
const attempts = 3

/** What is asked for, and of whom; servers that are of more use come first. */
export type Asking = Readonly<{
  version: RoomVersion
  roomId: string
  servers: readonly string[]
  deadline: Deadline
}>

/** Events by ID, and those of which nobody said that they cannot be had: they may be, later. */
export type Fetched = Readonly<{
  found: ReadonlyMap<string, JsonObject>
  unanswered: readonly string[]
}>

/**
 * Single events, each from the first server that has it. The answers are the events that were asked
 * for, of this room; nothing else of them is checked.
 */
export async function fetchEvents(eventIds: readonly string[], asking: Asking): Promise<Fetched> {
  const found = new Map<string, JsonObject>()
  const unanswered: string[] = []
  const waiting = eventIds.values()
  const worker = async () => {
    for (const eventId of waiting) {
      const json = await fetchEvent(eventId, asking)
      if (json === 'unanswered') unanswered.push(eventId)
      else if (json) found.set(eventId, json)
    }
  }
  await Promise.all(Array.from({ length: Math.min(atOnce, eventIds.length) }, worker))
  return { found, unanswered }
}

async function fetchEvent(
  eventId: string,
  { version, roomId, servers, deadline }: Asking,
): Promise<JsonObject | 'unanswered' | undefined> {
  let isAnswered = true
  for (const server of servers.slice(0, attempts)) {
    if (deadline.over) return 'unanswered'
    try {
      const json = await getEvent(deadline.federation, server, eventId)
      const parsed = json && parsePdu(version, json, { roomId, anyListLength: true })
      if (parsed && 'ok' in parsed && parsed.ok.eventId === eventId) return json
    } catch (error) {
      if (!(error instanceof RemoteError)) throw error
      if (isTransient(error)) isAnswered = false
    }
  }
  return isAnswered ? undefined : 'unanswered'
}

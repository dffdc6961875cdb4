import { RemoteError } from '#core/error.ts'
import { parsePdu } from '#core/event/check.ts'
import type { RoomEvent } from '#core/event/pdu.ts'
import type { JsonObject } from '#core/json.ts'
import type { RoomVersion } from '#core/room-version.ts'
import { answerTooLarge } from '#engine/federation/answer.ts'
import { getMissingEvents } from '#engine/federation/remote-events.ts'
import { Deadline } from '#engine/room/fetch/deadline.ts'
import type { FetchedEvents, Fetching } from '#engine/room/fetch/fetching.ts'
import { receiveMany } from '#engine/room/fetch/receive-events.ts'

/**
 * Fetches the events between those that we have and one that came.
 *
 * Spec: server-server-api/#backfilling-and-retrieving-missing-events
 */
export type MissingEvents = Fetching &
  Readonly<{
    version: RoomVersion
    roomId: string
    /** What we have: the forward extremities. */
    from: readonly string[]
    /** The events whose ancestors lack. */
    to: readonly string[]
    /** The prev_events of those that we lack. */
    lacking: readonly string[]
    /** Servers of the room, the one first that sent the event. */
    servers: readonly string[]
    /** At most so many events, and so many bytes of them. */
    limit: number
    maxBytes?: number
    minDepth?: number
    rounds?: number
  }>

/** An answer is at most so long; what is behind it is for the next round. */
const perRequest = 100
const bytesPerAnswer = 2 ** 20
/** Of events so large that they do not fit into one: these do. */
const fewPerRequest = 15
const maxLatest = 50
const defaultRounds = 10

/** Asks for as many of the missing events as the bounds allow; `lacking` says where it ended. */
export async function fetchMissing(missing: MissingEvents): Promise<FetchedEvents> {
  const { limit, rounds = defaultRounds } = missing
  const deadline = new Deadline(missing)
  const gap = new Gap(missing)
  const servers = [...missing.servers]
  for (let round = 0; round < rounds && servers.length > 0 && !deadline.over; round++) {
    const left = limit - gap.size
    if (left <= 0 || gap.isFull || gap.closed) break
    // One that does not bring us on is not asked again.
    if (!(await askOne(servers[0]!, missing, deadline, gap, left))) servers.shift()
  }
  const received = await receiveMany(missing.version, gap.jsons, {
    ...missing,
    deadlineMs: deadline.leftMs,
  })
  const never = missing.lacking.filter((id) => !gap.has(id))
  const lacking = new Set([...received.lacking, ...(await unknown(missing, never))])
  return { ...received, lacking: [...lacking] }
}

async function unknown({ known }: Fetching, eventIds: readonly string[]): Promise<string[]> {
  const standing = await known?.standing(eventIds)
  return eventIds.filter((id) => !standing?.has(id))
}

async function askOne(
  server: string,
  { roomId, from, minDepth }: MissingEvents,
  deadline: Deadline,
  gap: Gap,
  left: number,
): Promise<boolean> {
  for (const most of [perRequest, fewPerRequest])
    try {
      const wanted = {
        earliest: from,
        latest: gap.latest.slice(0, maxLatest),
        limit: Math.min(left, most),
        maxBytes: bytesPerAnswer,
        ...(minDepth !== undefined && { minDepth }),
      }
      return await gap.add(await getMissingEvents(deadline.federation, server, roomId, wanted))
    } catch (error) {
      if (!(error instanceof RemoteError)) throw error
      if (error.errcode !== answerTooLarge) return false
    }
  return false
}

/** What lies between the events that we have and those that came, as far as it was fetched. */
class Gap {
  readonly #missing: MissingEvents
  readonly #found = new Map<string, { json: JsonObject; event: RoomEvent }>()
  #bytes = 0
  /** Neither found nor known, and who cites it. */
  readonly #lacking: Map<string, string | undefined>

  constructor(missing: MissingEvents) {
    this.#missing = missing
    this.#lacking = new Map(missing.lacking.map((id) => [id, undefined]))
  }

  get size(): number {
    return this.#found.size
  }

  get isFull(): boolean {
    return this.#bytes >= (this.#missing.maxBytes ?? Infinity)
  }

  get closed(): boolean {
    return this.#lacking.size === 0
  }

  /** The oldest first, by and large. */
  get jsons(): JsonObject[] {
    return [...this.#found.values()].map(({ json }) => json).reverse()
  }

  has(eventId: string): boolean {
    return this.#found.has(eventId)
  }

  /** Events whose ancestors lack still. */
  get latest(): string[] {
    const ids = [...this.#lacking.values()]
    const own = ids.includes(undefined) ? this.#missing.to : []
    return [...new Set([...own, ...ids.filter((id) => id !== undefined)])]
  }

  /** Takes such of these as are ancestors of what came; false if none is. */
  async add(jsons: readonly JsonObject[]): Promise<boolean> {
    const { version, roomId, limit, known } = this.#missing
    const given = new Map<string, { json: JsonObject; event: RoomEvent }>()
    for (const json of jsons) {
      const parsed = parsePdu(version, json, { roomId })
      if ('ok' in parsed) given.set(parsed.ok.eventId, { json, event: parsed.ok })
    }
    const cited = [...given.values()].flatMap(({ event }) => event.prevEvents)
    const standing = await known?.standing([...new Set([...given.keys(), ...cited])])
    const before = this.#found.size
    const open = [...this.#lacking.keys()]
    for (let id = open.pop(); id !== undefined; id = open.pop()) {
      const found = given.get(id)
      if (standing?.has(id)) this.#lacking.delete(id)
      else if (found && this.#found.size < limit && !this.isFull) {
        this.#bytes += JSON.stringify(found.json).length
        this.#lacking.delete(id)
        this.#found.set(id, found)
        for (const prev of found.event.prevEvents) {
          if (this.#found.has(prev) || this.#lacking.has(prev) || standing?.has(prev)) continue
          this.#lacking.set(prev, id)
          open.push(prev)
        }
      }
    }
    return this.#found.size > before
  }
}

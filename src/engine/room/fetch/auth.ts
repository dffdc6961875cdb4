import { RemoteError } from '#core/error.ts'
import { parsePdu } from '#core/event/check.ts'
import type { JsonObject } from '#core/json.ts'
import type { RoomVersion } from '#core/room-version.ts'
import { getEventAuth } from '#engine/federation/remote-events.ts'
import { checkMany } from '#engine/room/fetch/check-events.ts'
import { Deadline } from '#engine/room/fetch/deadline.ts'
import { type Asking, fetchEvents } from '#engine/room/fetch/events.ts'
import type { CheckedEvents, Fetching } from '#engine/room/fetch/fetching.ts'
import { Pace } from '#engine/room/fetch/pace.ts'

/** Up to so many are asked for one by one; for more the whole chain is. */
const fewEvents = 20
const rounds = 4

/** More than the auth chain of any event of a room that is not made to have one. */
const maxEvents = 20_000

export type MissingAuth = Fetching &
  Readonly<{
    version: RoomVersion
    roomId: string
    /** Auth events that we lack. */
    eventIds: readonly string[]
    /** An event that cites them: its chain can be asked for. */
    citedBy?: string
    servers: readonly string[]
  }>

/** Fetches auth events that are lacking, with such of their own auth chains as is lacking too. */
export async function fetchAuth(missing: MissingAuth): Promise<CheckedEvents> {
  const deadline = new Deadline(missing)
  const collected = new Collected(missing)
  await collected.want(missing.eventIds)
  const asking = { ...missing, deadline }
  for (let round = 0; round < rounds && collected.wanted.length > 0 && !deadline.over; round++) {
    if (collected.wanted.length > fewEvents) break
    const { found } = await fetchEvents(collected.wanted, asking)
    if (found.size === 0) break
    await collected.add(found.values())
  }
  if (collected.wanted.length > 0 && missing.citedBy !== undefined)
    await collected.add(await chainOf(missing.citedBy, asking))
  return checkMany(missing.version, collected.jsons, {
    ...missing,
    deadlineMs: deadline.leftMs,
    anyListLength: true,
  })
}

async function chainOf(eventId: string, asking: Asking): Promise<JsonObject[]> {
  const { roomId, servers, deadline } = asking
  for (const server of servers.slice(0, 3)) {
    if (deadline.over) break
    try {
      return await getEventAuth(deadline.federation, server, roomId, eventId)
    } catch (error) {
      if (!(error instanceof RemoteError)) throw error
    }
  }
  return []
}

/** Events as they come, and which of their auth events neither came nor are known. */
class Collected {
  readonly #missing: MissingAuth
  readonly #jsons = new Map<string, JsonObject>()
  readonly #pace = new Pace()
  #wanted = new Set<string>()

  constructor(missing: MissingAuth) {
    this.#missing = missing
  }

  get wanted(): string[] {
    return [...this.#wanted]
  }

  get jsons(): JsonObject[] {
    return [...this.#jsons.values()]
  }

  /** Wants such of these as are not known. */
  async want(eventIds: readonly string[]): Promise<void> {
    const known = await this.#missing.known?.standing(eventIds)
    for (const id of eventIds) if (!known?.has(id)) this.#wanted.add(id)
  }

  /** Takes events that are wanted, in whatever order they come. */
  async add(jsons: Iterable<JsonObject>): Promise<void> {
    const { version, roomId } = this.#missing
    const given = new Map<string, { json: JsonObject; auth: readonly string[] }>()
    for (const json of jsons) {
      if (this.#pace.due) await this.#pace.rest()
      const parsed = parsePdu(version, json, { roomId, anyListLength: true })
      if ('ok' in parsed) given.set(parsed.ok.eventId, { json, auth: parsed.ok.authEvents })
    }
    // What is known needs no fetching, nor does what it cites.
    const cited = [...given.values()].flatMap(({ auth }) => auth)
    const known = await this.#missing.known?.standing([...new Set([...given.keys(), ...cited])])
    const open = this.wanted
    for (let id = open.pop(); id !== undefined; id = open.pop()) {
      const found = given.get(id)
      if (!found || this.#jsons.size >= maxEvents) continue
      this.#wanted.delete(id)
      this.#jsons.set(id, found.json)
      for (const auth of found.auth) {
        if (this.#jsons.has(auth) || this.#wanted.has(auth) || known?.has(auth)) continue
        this.#wanted.add(auth)
        open.push(auth)
      }
    }
  }
}

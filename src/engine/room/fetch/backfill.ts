import { RemoteError } from '#core/error.ts'
import { hangingOn, historyLink } from '#core/content/msc2716.ts'
import { parsePdu } from '#core/event/check.ts'
import type { RoomEvent } from '#core/event/pdu.ts'
import { createOfRoomId } from '#core/ids.ts'
import type { JsonObject } from '#core/json.ts'
import type { RoomVersion } from '#core/room-version.ts'
import { backfill } from '#engine/federation/remote-events.ts'
import { fetchAuth } from '#engine/room/fetch/auth.ts'
import { Deadline } from '#engine/room/fetch/deadline.ts'
import type {
  FetchedEvents,
  FetchedHistory,
  FetchedState,
  Fetching,
  KnownEvents,
} from '#engine/room/fetch/fetching.ts'
import { withEvents } from '#engine/room/fetch/overlay.ts'
import { Pace } from '#engine/room/fetch/pace.ts'
import { receiveMany } from '#engine/room/fetch/receive-events.ts'
import { fetchStateBefore } from '#engine/room/fetch/state.ts'

/**
 * Fetches history before the oldest events that we have.
 *
 * Spec: server-server-api/#get_matrixfederationv1backfillroomid
 */
export type Backfill = Fetching &
  Readonly<{
    version: RoomVersion
    roomId: string
    /** Where to begin: missing events, or known ones whose ancestors are missing. */
    from: readonly string[]
    servers: readonly string[]
    limit: number
    /** Told of each server that answered, and had nothing new. */
    onNothing?: (server: string) => void
    /** Of what is known, what has its place in the graph: auth events beside it are no history yet. */
    placed?: KnownEvents
  }>

const maxServers = 5

/** A page reaches back along so many branches at most; what is on others is left for later. */
const maxBranches = 4

/** A page of history from the first server that has one; undefined if none does. */
export async function fetchBackfill(wanted: Backfill): Promise<FetchedHistory | undefined> {
  const deadline = new Deadline(wanted)
  for (const server of wanted.servers.slice(0, maxServers)) {
    if (deadline.over) return undefined
    try {
      const jsons = await pageOf(server, wanted, deadline)
      const known = wanted.placed ?? wanted.known
      const fetching = {
        ...wanted,
        ...(known && { known }),
        anyListLength: true,
        deadlineMs: deadline.leftMs,
      }
      const page = await receiveMany(wanted.version, jsons, fetching)
      if (page.events.length > 0) return await complete(server, wanted, page, deadline)
      wanted.onNothing?.(server)
    } catch (error) {
      if (!(error instanceof RemoteError)) throw error
    }
  }
  return undefined
}

/** What a server gives, less what is no ancestor of where it was to begin. */
async function pageOf(
  server: string,
  { version, roomId, from, limit }: Backfill,
  deadline: Deadline,
): Promise<JsonObject[]> {
  // The answer begins with the events themselves.
  const asked = limit + from.length
  const jsons = await backfill(deadline.federation, server, roomId, from, asked)
  const pace = new Pace()
  const given = new Map<string, { json: JsonObject; event: RoomEvent }>()
  for (const json of jsons) {
    if (pace.due) await pace.rest()
    const parsed = parsePdu(version, json, { roomId, anyListLength: true })
    if ('ok' in parsed) given.set(parsed.ok.eventId, { json, event: parsed.ok })
  }
  const hanging = hangingOn(Array.from(given.values(), ({ event }) => event))
  const reached = new Set(from)
  // A set is walked on while it grows.
  for (const id of reached)
    for (const older of [...(given.get(id)?.event.prevEvents ?? []), ...(hanging.get(id) ?? [])])
      reached.add(older)
  // One that gives more than was asked for is believed that much.
  const wanted = new Set([...reached].filter((id) => given.has(id)).slice(0, asked))
  return [...given].filter(([id]) => wanted.has(id)).map(([, { json }]) => json)
}

/** Fetches what a page stands on: the state before its oldest events, and lacking auth events. */
async function complete(
  server: string,
  wanted: Backfill,
  page: FetchedEvents,
  deadline: Deadline,
): Promise<FetchedHistory> {
  const servers = [server, ...wanted.servers.filter((other) => other !== server)]
  const lacking = new Set(page.lacking)
  const all = [...page.events, ...page.rejected].map(({ event }) => event)
  // MSC2716: batches of Synapse begin with an event that follows none.
  const floats = (event: RoomEvent) => event.prevEvents.length === 0 && isInsertion(event)
  const oldest = all.filter(
    (event) => floats(event) || event.prevEvents.some((id) => lacking.has(id)),
  )
  const states = new Map<string, FetchedState>()
  const within = () => {
    const fetched = [...states.values()].map(({ events }) => events)
    const known = withEvents(wanted.known, fetched)
    return { ...wanted, known, servers, deadlineMs: deadline.leftMs }
  }
  for (const { eventId } of oldest.slice(0, maxBranches)) {
    const state = await fetchStateBefore({ ...within(), eventId })
    if (state) states.set(eventId, state)
  }
  const auth = await fetchAuth({ ...within(), eventIds: authOutside(wanted, all) })
  return { ...page, server, states, auth }
}

const isInsertion = (event: RoomEvent): boolean => historyLink(event)?.isInsertion === true

/** Auth events that are not of the page. */
function authOutside({ version, roomId }: Backfill, page: readonly RoomEvent[]): string[] {
  const here = new Set(page.map(({ eventId }) => eventId))
  const cited = new Set(page.flatMap(({ authEvents }) => authEvents))
  if (version.createEventIsRoomId) cited.add(createOfRoomId(roomId))
  return [...cited].filter((id) => !here.has(id))
}

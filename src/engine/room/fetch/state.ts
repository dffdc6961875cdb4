import { RemoteError } from '#core/error.ts'
import type { JsonObject } from '#core/json.ts'
import type { RoomVersion } from '#core/room-version.ts'
import { malformedAnswer, unreachable } from '#engine/federation/answer.ts'
import { getState, getStateIds } from '#engine/federation/remote-events.ts'
import { chainOnly, checkMany } from '#engine/room/fetch/check-events.ts'
import { Deadline } from '#engine/room/fetch/deadline.ts'
import { fetchEvents } from '#engine/room/fetch/events.ts'
import type { FetchedState, Fetching } from '#engine/room/fetch/fetching.ts'

export type StateBefore = Fetching &
  Readonly<{
    version: RoomVersion
    roomId: string
    /** The state before this event is asked for. */
    eventId: string
    /** Servers of the room, best first. */
    servers: readonly string[]
  }>

/** So many are asked for one by one; for more the whole state is. */
const fewEvents = 50
const maxServers = 5

/**
 * The room's state before an event whose prev_events we do not have, from the first server that
 * tells it; undefined if none does.
 *
 * Spec: server-server-api/#get_matrixfederationv1state_idsroomid
 */
export async function fetchStateBefore(before: StateBefore): Promise<FetchedState | undefined> {
  const deadline = new Deadline(before)
  for (const server of before.servers.slice(0, maxServers)) {
    if (deadline.over) return undefined
    try {
      return await fetchFrom(server, before, deadline)
    } catch (error) {
      if (!(error instanceof RemoteError)) throw error
    }
  }
  return undefined
}

type Listed = { stateIds: string[]; authChainIds: string[] }

async function fetchFrom(
  server: string,
  before: StateBefore,
  deadline: Deadline,
): Promise<FetchedState> {
  const { version, roomId, eventId, known } = before
  const listed = await getStateIds(deadline.federation, server, roomId, eventId)
  const all = [...new Set([...listed.stateIds, ...listed.authChainIds])]
  const standing = (await known?.standing(all)) ?? new Map<string, 'accepted' | 'rejected'>()
  const lacking = all.filter((id) => !standing.has(id))
  const jsons = await eventsOf(server, lacking, before, deadline)
  const fetching = { ...before, deadlineMs: deadline.leftMs, anyListLength: true }
  const checked = await checkMany(version, jsons, fetching)
  const events = await chainOnly(checked, listed.stateIds)
  const accepted = new Set(events.accepted.map(({ event }) => event.eventId))
  const isGood = (id: string) => accepted.has(id) || standing.get(id) === 'accepted'
  const stateIds = [...new Set(listed.stateIds)]
  requireState(server, listed, events.accepted)
  return {
    server,
    stateIds: stateIds.filter(isGood),
    events,
    lost: stateIds.filter((id) => !isGood(id)),
  }
}

/**
 * One by one from any server, or all of them from the one that named them. A state without what could
 * not be asked for just now would be another one than all other servers have, for good: there is none
 * then. What nobody gives is left out.
 */
async function eventsOf(
  server: string,
  eventIds: readonly string[],
  { version, roomId, eventId, servers }: StateBefore,
  deadline: Deadline,
): Promise<JsonObject[]> {
  if (eventIds.length > fewEvents) {
    const { state, authChain } = await getState(deadline.federation, server, roomId, eventId)
    return [...state, ...authChain]
  }
  const others = servers.filter((other) => other !== server)
  const asking = { version, roomId, servers: [server, ...others], deadline }
  const { found, unanswered } = await fetchEvents(eventIds, asking)
  if (unanswered.length > 0)
    throw new RemoteError(
      server,
      0,
      unreachable,
      `${unanswered[0]} of a state could not be asked for`,
    )
  return [...found.values()]
}

/** Of what is new, all that the state lists is state, and none of it is there twice. */
function requireState(
  server: string,
  { stateIds }: Listed,
  accepted: FetchedState['events']['accepted'],
): void {
  const listed = new Set(stateIds)
  const keys = new Set<string>()
  for (const { event } of accepted) {
    if (!listed.has(event.eventId)) continue
    const key = `${event.type}\0${event.stateKey}`
    if (event.stateKey === undefined || keys.has(key))
      throw malformedAnswer(server, `has ${event.eventId} in a state that cannot hold it`)
    keys.add(key)
  }
}

import { hangingOn } from '#core/content/msc2716.ts'
import type { RoomEvent } from '#core/event/pdu.ts'
import { domainOf } from '#core/ids.ts'
import type { StateMap } from '#store/room/state-map.ts'
import { aside } from '#engine/room/aside.ts'
import { followAwaited } from '#engine/room/batch-send/markers.ts'
import { CloseOwnGaps } from '#engine/room/batch-send/own-gaps.ts'
import { fetchBackfill } from '#engine/room/fetch/backfill.ts'
import type { FetchedHistory } from '#engine/room/fetch/fetching.ts'
import { fetchingIn, knownIn, serversOf } from '#engine/room/inbox/known-events.ts'
import type { Lane } from '#engine/room/lane.ts'
import { isOurs } from '#engine/room/member/local-member.ts'
import { claimAll, fetchState, keepOutliers, stateOf } from '#engine/room/inbox/outliers.ts'
import { JudgePast, type Page, type PastEvent, PlacePast } from '#engine/room/decide/past.ts'
import type { Known, Room } from '#engine/room/room.ts'
import type { Task } from '#engine/room/task.ts'

/** Events of one page: a page is placed at once, and holds nobody. */
const perPage = 50
const maxEvents = 500
/** Missing events asked for in one request. */
const maxFrom = 10

/** Where history ends, and whom to ask for what came before. */
export type Edge = {
  room: Room
  from: string[]
  servers: string[]
  /** MSC2716: of these, an insertion event that nothing here leads to. */
  base?: string
}

const underWay = new WeakMap<Lane, { wish: string; fetched: Promise<number> }>()

/**
 * Fetches history before some events, or before the oldest that are known, and commits it; the number
 * of events that readers gained. Who asks for the same at the same time gets the same.
 *
 * Spec: server-server-api/#backfilling-and-retrieving-missing-events
 */
export async function backfill(
  lane: Lane,
  beforeEventIds: readonly string[],
  limit: number,
): Promise<number> {
  const wish = JSON.stringify([beforeEventIds, limit])
  for (let other = underWay.get(lane); other; other = underWay.get(lane)) {
    if (other.wish === wish) return other.fetched
    await other.fetched.catch(() => 0)
  }
  const fetched = lane.keep(() => fetchPages(lane, beforeEventIds, Math.min(limit, maxEvents)))
  underWay.set(lane, { wish, fetched })
  try {
    return await fetched
  } finally {
    underWay.delete(lane)
  }
}

async function fetchPages(
  lane: Lane,
  beforeEventIds: readonly string[],
  limit: number,
): Promise<number> {
  const { now, limits } = lane.parts
  const until = now() + limits.backfillMs
  let gained = 0
  let before = beforeEventIds
  while (gained < limit && now() < until) {
    const edge = await aside(lane, (room) => edgeBefore(lane, room, before))
    if (!edge) break
    const page = await fetchPage(lane, edge, Math.min(perPage, limit - gained), until)
    if (!page || page.shown === 0) break
    gained += page.shown
    before = page.events.map(({ event }) => event.eventId)
  }
  return gained
}

/** The missing events that some events lead to; without any, those before the oldest that we have. */
function* edgeBefore(
  lane: Lane,
  room: Room | null,
  eventIds: readonly string[],
): Task<Edge | undefined> {
  const { parts } = lane
  if (!room || !isOurs(parts, room) || room.missing.size === 0) return undefined
  const from = new Set<string>()
  if (eventIds.length > 0) {
    const found = yield* parts.events.byIds(room, eventIds)
    for (const id of eventIds)
      if (room.missing.has(id)) from.add(id)
      else
        for (const prev of found.get(id)?.event.prevEvents ?? [])
          if (room.missing.has(prev)) from.add(prev)
  }
  const nids = [...room.missing.values()].flat()
  const children = yield* parts.events.byNids(room, nids)
  const childOf = (id: string): Known | undefined =>
    room.missing.get(id)?.flatMap((nid) => children.get(nid) ?? [])[0]
  if (eventIds.length === 0) {
    const depthOf = (id: string) => childOf(id)?.event.depth ?? 0
    const oldest = [...room.missing.keys()].sort((a, b) => depthOf(a) - depthOf(b))
    for (const id of oldest.slice(0, maxFrom)) from.add(id)
  }
  if (from.size === 0) return undefined
  const wanted = [...from].slice(0, maxFrom)
  // Who sent what follows has what comes before.
  const senders = wanted.flatMap((id) => domainOf(childOf(id)?.event.sender ?? '') ?? [])
  return { room, from: wanted, servers: serversOf(lane, room, senders) }
}

/** A page from the first server that has one which can be placed. */
export async function fetchPage(
  lane: Lane,
  edge: Edge,
  limit: number,
  until: number,
): Promise<{ events: readonly PastEvent[]; shown: number } | undefined> {
  const { now, limits } = lane.parts
  const { room, from, base } = edge
  const empty = new Set<string>()
  for (const server of edge.servers) {
    const leftMs = until - now()
    if (leftMs <= 0) break
    const history = await fetchBackfill({
      ...fetchingIn(lane, Math.min(leftMs, limits.pageMs)),
      placed: knownIn(lane, 'placed'),
      version: room.version,
      roomId: room.roomId,
      from,
      servers: [server],
      limit,
      onNothing: (name) => empty.add(name),
    })
    if (!history) continue
    const events = await claimPast(lane, pastEvents(history))
    const states = await statesOf(lane, edge, history)
    const isCut = history.events.length + history.rejected.length >= limit
    const page = { events, states, isCut, judged: new Map(), ...(base !== undefined && { base }) }
    const shown = await take(lane, page)
    if (shown > 0) {
      const arrived = events.map(({ event }) => event.eventId)
      await followAwaited(lane, arrived)
      return { events, shown }
    }
  }
  if (empty.size > 0) await lane.admit((answer) => new CloseOwnGaps(answer, from, empty))
  return undefined
}

/** What came, parents first. */
function pastEvents({ events, rejected }: FetchedHistory): PastEvent[] {
  const all: PastEvent[] = events.map(({ event }) => ({ event, rejection: undefined }))
  for (const { event, reason } of rejected) all.push({ event, rejection: reason })
  const hanging = hangingOn(all.map(({ event }) => event))
  return rejected.length === 0 && hanging.size === 0 ? all : sortByDag(all, hanging)
}

function sortByDag(
  events: readonly PastEvent[],
  hanging: ReadonlyMap<string, readonly string[]>,
): PastEvent[] {
  const byId = new Map(events.map((each) => [each.event.eventId, each]))
  const sorted: PastEvent[] = []
  const entered = new Set<RoomEvent>()
  const open = [...events].reverse()
  for (let at = open.at(-1); at; at = open.at(-1)) {
    const { event } = at
    const older = [...event.prevEvents, ...(hanging.get(event.eventId) ?? [])]
    const parents = older.flatMap((id) => byId.get(id) ?? [])
    const fresh = parents.filter((parent) => !entered.has(parent.event))
    if (!entered.has(event) && fresh.length > 0) {
      entered.add(event)
      open.push(...fresh)
      continue
    }
    entered.add(event)
    open.pop()
    if (byId.delete(event.eventId)) sorted.push(at)
  }
  return sorted
}

/** Without those whose IDs are taken: v1–v2. */
const claimPast = (lane: Lane, events: readonly PastEvent[]): Promise<PastEvent[]> =>
  aside(lane, function* (room) {
    if (!room) return []
    const found = yield* lane.parts.events.byIds(
      room,
      events.map(({ event }) => event.eventId),
    )
    const fresh = events.map(({ event }) => event).filter(({ eventId }) => !found.has(eventId))
    const refused = yield* claimAll(lane, fresh)
    return events.filter(({ event }) => !refused.has(event.eventId))
  })

/** The states before the oldest events of a page, stored and read back. */
async function statesOf(
  lane: Lane,
  { room, servers }: Edge,
  { states, auth, server }: FetchedHistory,
): Promise<Map<string, StateMap>> {
  const found = new Map<string, StateMap>()
  for (const { events } of states.values()) await keepOutliers(lane, events)
  await keepOutliers(lane, auth)
  const others = servers.filter((other) => other !== server)
  for (const [eventId, { stateIds }] of states) {
    const state =
      (await stateOf(lane, stateIds)) ?? (await fetchState(lane, room, eventId, others.slice(0, 2)))
    if (state) found.set(eventId, state)
  }
  return found
}

/** Judges a page event by event, then places it. */
async function take(lane: Lane, page: Page): Promise<number> {
  const answers: Promise<null>[] = []
  const items = page.events.map((past) => {
    const { promise, resolve, reject } = Promise.withResolvers<null>()
    answers.push(promise)
    return { work: new JudgePast({ resolve, reject }, page, past), alone: false }
  })
  lane.inbound.again(items)
  const failed = (await Promise.allSettled(answers)).find(({ status }) => status === 'rejected')
  if (failed) throw (failed as PromiseRejectedResult).reason
  return lane.admit<number>((answer) => new PlacePast(answer, page))
}

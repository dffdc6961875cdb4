import { parseJson } from '#core/canonical-json.ts'
import { insertionType, markedInsertion, markerType, mayPutIn } from '#core/content/msc2716.ts'
import { RemoteError } from '#core/error.ts'
import { parsePdu, toRoomEvent } from '#core/event/check.ts'
import type { Pdu, RoomEvent } from '#core/event/pdu.ts'
import { domainOf, isEventIdOf } from '#core/ids.ts'
import { emptyPart } from '#store/room/batch.ts'
import { packEventId, unpackEventId } from '#store/room/event-id.ts'
import * as historyLinks from '#store/room/history-links.ts'
import { getEvent } from '#engine/federation/remote-events.ts'
import { aside } from '#engine/room/aside.ts'
import { type Answer, Asked } from '#engine/room/asked.ts'
import { fetchPage } from '#engine/room/inbox/backfill.ts'
import { serversOf } from '#engine/room/inbox/known-events.ts'
import type { Lane } from '#engine/room/lane.ts'
import { isOurs } from '#engine/room/member/local-member.ts'
import type { Known, Room } from '#engine/room/room.ts'
import { type Task, wait } from '#engine/room/task.ts'
import type { Outcome } from '#engine/room/work.ts'

/** A place where history was put in, and the server that has it. */
export type Marked = { insertionId: string; server: string }

/** Not spec: so many markers of a room wait for their turn; others are found when the room is joined again. */
const maxWaiting = 20
/** Events that are fetched at once: readers ask for the rest. */
const perMarker = 50

const waiting = new WeakMap<Lane, Map<string, Marked>>()

/** MSC2716: another server says where history was put in: it is fetched, beside the lane. */
export function takeMarker(lane: Lane, room: Room, event: RoomEvent): void {
  const insertionId = markedInsertion(event)
  const server = domainOf(event.sender)
  if (insertionId === undefined || server === undefined || !lane.parts.history) return
  if (server === lane.parts.signing.serverName || !isEventIdOf(room.version, insertionId)) return
  if (mayPutIn(room.version, room.create, event.sender)) follow(lane, { insertionId, server })
}

/** The markers in the state of a room, when we come to it, or come back. */
export async function takeMarkers(lane: Lane): Promise<void> {
  if (!lane.parts.history) return
  const events = await aside(lane, function* (room) {
    if (!room) return []
    const { sql } = lane.parts
    const rows = yield* wait(historyLinks.stateOfType(sql, room.shard, room.nid, markerType))
    return rows.map((row) => {
      const id = unpackEventId(row.event_id, room.version)
      return toRoomEvent(room.version, parseJson(row.json) as Pdu, id, room.roomId)
    })
  })
  const { room } = lane
  if (room) for (const event of events) takeMarker(lane, room, event)
}

/** What waited for events of which some have come. */
export async function followAwaited(lane: Lane, arrived: readonly string[]): Promise<void> {
  if (!lane.parts.history || arrived.length === 0) return
  const found = await aside(lane, function* (room) {
    if (!room) return []
    const rows = yield* wait(
      historyLinks.awaitedFor(lane.parts.sql, room.shard, room.nid, arrived.map(packEventId)),
    )
    return rows.map((row) => ({
      insertionId: unpackEventId(row.insertion_id, room.version),
      server: row.server,
    }))
  })
  for (const marked of found) follow(lane, marked)
}

/** Fetches what hangs on an insertion event, when those before it have been followed. */
export function follow(lane: Lane, marked: Marked): void {
  const line = waiting.get(lane)
  if (line) {
    if (line.size < maxWaiting) line.set(marked.insertionId, marked)
    return
  }
  run(lane, new Map([[marked.insertionId, marked]]))
}

function run(lane: Lane, line: Map<string, Marked>): void {
  waiting.set(lane, line)
  lane
    .keep(() => followAll(lane, line))
    .catch((error: unknown) => lane.parts.onError(error, `markers of ${lane.roomId}`))
    .finally(() => {
      waiting.delete(lane)
      // One that came in the last moment.
      if (line.size > 0) run(lane, new Map(line))
    })
}

async function followAll(lane: Lane, line: Map<string, Marked>): Promise<void> {
  for (const marked of line.values()) {
    try {
      await followOne(lane, marked)
    } catch (error) {
      if (!(error instanceof RemoteError)) throw error
      await awaitLater(lane, marked, null)
    } finally {
      line.delete(marked.insertionId)
    }
  }
}

async function followOne(lane: Lane, marked: Marked): Promise<void> {
  const { parts } = lane
  const { insertionId, server } = marked
  const until = parts.now() + parts.limits.backfillMs
  const start = await aside(lane, (room) => startAt(lane, room, marked))
  if (!start) return
  const { room, servers, openId } = start
  if (openId !== undefined) {
    await fetchPage(lane, { room, servers, from: [openId] }, perMarker, until)
    return
  }
  const json = await getEvent(parts.federation, server, insertionId)
  const parsed = json && parsePdu(room.version, json, { roomId: room.roomId })
  const event = parsed && 'ok' in parsed ? parsed.ok : undefined
  if (event?.eventId !== insertionId || event.type !== insertionType) return
  if (!mayPutIn(room.version, room.create, event.sender)) return
  const prevs = await aside(lane, (at) => placedOf(lane, at, event.prevEvents))
  if (prevs.length === 0) {
    await awaitLater(lane, marked, event.prevEvents[0] ?? null)
    return
  }
  const edge = { room, servers, from: [insertionId], base: insertionId }
  if (!(await fetchPage(lane, edge, perMarker, until))) await awaitLater(lane, marked, null)
}

/** Where to begin: at an insertion event that is here already, or else with the one that is marked. */
function* startAt(
  lane: Lane,
  room: Room | null,
  { insertionId, server }: Marked,
): Task<{ room: Room; servers: string[]; openId: string | undefined } | undefined> {
  const { parts } = lane
  if (!room || !isOurs(parts, room)) return undefined
  const servers = serversOf(lane, room, [server])
  const [placed] = yield* placedOf(lane, room, [insertionId])
  if (!placed) return { room, servers, openId: undefined }
  const { sql } = parts
  const nid = yield* wait(historyLinks.openInsertion(sql, room.shard, room.nid, placed.nid))
  const open = (yield* parts.events.byNids(room, [nid])).get(nid)!
  return { room, servers, openId: open.event.eventId }
}

function* placedOf(lane: Lane, room: Room | null, ids: readonly string[]): Task<Known[]> {
  if (!room) return []
  const found = yield* lane.parts.events.byIds(room, ids)
  return [...found.values()].filter(({ chain }) => chain !== null)
}

/** Remembers an insertion event until what it follows is here; null: until any history comes. */
const awaitLater = (lane: Lane, marked: Marked, prevId: string | null): Promise<null> =>
  lane.admit<null>((answer) => new Await(answer, marked, prevId))

class Await extends Asked<null> {
  override readonly local = false
  readonly bytes = 500
  readonly #marked: Marked
  readonly #prevId: string | null

  constructor(answer: Answer<null>, marked: Marked, prevId: string | null) {
    super(answer)
    this.#marked = marked
    this.#prevId = prevId
  }

  *decide(lane: Lane): Task<Outcome | null> {
    const room = yield* lane.load()
    if (!room) throw new Error(`${lane.roomId} is gone`)
    const part = emptyPart(room.shard, room.nid)
    const { insertionId, server } = this.#marked
    const prevId = this.#prevId === null ? null : packEventId(this.#prevId)
    part.history.push({ kind: 'await', insertionId: packEventId(insertionId), prevId, server })
    return { part, positions: 0, ingests: 0 }
  }

  answerFor(): null {
    return null
  }
}

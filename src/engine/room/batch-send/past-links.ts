import { historyLink, isHistorical, markerType } from '#core/content/msc2716.ts'
import type { RoomEvent } from '#core/event/pdu.ts'
import { findLinks, linkOf } from '#engine/room/batch-send/links.ts'
import type { Parts } from '#engine/room/parts.ts'
import type { Known, Room } from '#engine/room/room.ts'
import type { Task } from '#engine/room/task.ts'

/** MSC2716: what of a page of history hangs on insertion events. */
export type PageLinks = {
  /** Insertion events that were here before, by number: the batch event comes before them. */
  readonly behind: ReadonlyMap<string, readonly number[]>
  /** Batch events of the page, by the insertion event of the page that they come before. */
  readonly older: ReadonlyMap<string, readonly string[]>
}

const none: PageLinks = { behind: new Map(), older: new Map() }

export function* linksOfPage(
  parts: Parts,
  room: Room,
  events: readonly RoomEvent[],
): Task<PageLinks> {
  const links = events.flatMap((event) => {
    const link = linkOf(room, { event, flags: 0 })
    return link ? [{ ...link, eventId: event.eventId }] : []
  })
  if (links.length === 0) return none
  const batches = links.filter(({ isInsertion }) => !isInsertion)
  const here = yield* findLinks(
    parts,
    room,
    batches.map(({ batchId }) => batchId),
  )
  const behind = new Map<string, number[]>()
  const older = new Map<string, string[]>()
  for (const { eventId, batchId } of batches) {
    const known = [...here.values()].filter((each) => each.isInsertion && each.batchId === batchId)
    if (known.length > 0)
      behind.set(
        eventId,
        known.map(({ nid }) => nid),
      )
    for (const link of links)
      if (link.isInsertion && link.batchId === batchId)
        older.set(link.eventId, [...(older.get(link.eventId) ?? []), eventId])
  }
  return { behind, older }
}

/** The insertion events of a page on which nothing hangs yet. */
export const openInsertions = (
  room: Room,
  arrived: readonly Known[],
  { older }: PageLinks,
): Known[] =>
  arrived.filter((known) => linkOf(room, known)?.isInsertion && !older.has(known.event.eventId))

/**
 * The state that a batch begins with: readers are told of it with the events of the batch, and have no use
 * for a list of joins before each.
 */
export function leadIns(
  room: Room,
  events: readonly RoomEvent[],
  children: ReadonlyMap<number, Known>,
): Set<string> {
  const leads = new Set<string>()
  const before = new Set<string>()
  const follows = (known: Known | undefined) =>
    known !== undefined &&
    (isLead(known.event) ? known.chain === null : historyLink(known.event)?.isInsertion === true)
  for (const event of events.toReversed()) {
    const { eventId, prevEvents } = event
    const nids = room.missing.get(eventId) ?? []
    const leadsIn =
      isLead(event) && (before.has(eventId) || nids.some((nid) => follows(children.get(nid))))
    if (leadsIn) leads.add(eventId)
    if (leadsIn || (isHistorical(event.content) && historyLink(event)?.isInsertion))
      for (const id of prevEvents) before.add(id)
  }
  return leads
}

const isLead = ({ stateKey, content, type }: RoomEvent): boolean =>
  stateKey !== undefined && isHistorical(content) && type !== markerType

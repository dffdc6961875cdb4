import type { RoomEvent } from '#core/event/pdu.ts'
import type { JsonObject } from '#core/json.ts'
import type { RoomVersion } from '#core/room-version.ts'
import { creatorsOf } from './m.room.create.ts'

/**
 * MSC2716: history that is put into a room later, in batches. An insertion event is where a batch may be
 * hung; a batch event is the newest of one and says on which insertion event it hangs; a marker event is
 * sent live and says to other servers where history was put in.
 */
export const insertionType = 'org.matrix.msc2716.insertion'
export const batchType = 'org.matrix.msc2716.batch'
export const markerType = 'org.matrix.msc2716.marker'

/** In the content of every event of a batch. */
export const historicalFlag = 'org.matrix.msc2716.historical'

/** Keys of the contents: from org.matrix.msc2716v4 on, and in the versions of the spec, they have no prefix. */
const plainKeys = {
  nextBatchId: 'next_batch_id',
  batchId: 'batch_id',
  insertion: 'insertion_event_reference',
} as const
const prefixedKeys = {
  nextBatchId: 'org.matrix.msc2716.next_batch_id',
  batchId: 'org.matrix.msc2716.batch_id',
  insertion: 'org.matrix.msc2716.marker.insertion',
} as const

export const historyKeys = (version: RoomVersion) =>
  version.prefixedHistoryKeys ? prefixedKeys : plainKeys

export const isHistoryType = (type: string): boolean =>
  type === insertionType || type === batchType || type === markerType

/** The key that survives a redaction of such an event. */
export function historyKeyOf(version: RoomVersion, type: string): string | undefined {
  const keys = historyKeys(version)
  if (type === insertionType) return keys.nextBatchId
  if (type === batchType) return keys.batchId
  return type === markerType ? keys.insertion : undefined
}

/** Database keys have a bound; Synapse makes them of 8 letters. */
const maxBatchIdBytes = 255

/** What an insertion event offers, or a batch event takes up; undefined for every other event. */
export function historyLink({
  type,
  version,
  content,
}: Pick<RoomEvent, 'type' | 'version' | 'content'>): HistoryLink | undefined {
  if (type !== insertionType && type !== batchType) return undefined
  const batchId = content[historyKeyOf(version, type)!]
  if (typeof batchId !== 'string' || batchId === '') return undefined
  if (Buffer.byteLength(batchId) > maxBatchIdBytes || batchId.includes('\0')) return undefined
  return { batchId, isInsertion: type === insertionType }
}

export type HistoryLink = { readonly batchId: string; readonly isInsertion: boolean }

/** Of some events of a room, the batch events that hang on each insertion event. */
export function hangingOn(events: readonly RoomEvent[]): Map<string, string[]> {
  const found = new Map<string, string[]>()
  const links = events.flatMap((event) => {
    const link = historyLink(event)
    return link ? [{ ...link, id: event.eventId }] : []
  })
  if (links.length === 0) return found
  for (const { id, batchId, isInsertion } of links) {
    if (!isInsertion) continue
    const batches = links.filter((each) => !each.isInsertion && each.batchId === batchId)
    if (batches.length > 0)
      found.set(
        id,
        batches.map((batch) => batch.id),
      )
  }
  return found
}

/** The insertion event that a marker names. */
export function markedInsertion({ type, version, content }: RoomEvent): string | undefined {
  if (type !== markerType) return undefined
  const id = content[historyKeys(version).insertion]
  return typeof id === 'string' ? id : undefined
}

/**
 * Whether such events of a sender mean anything: in the room versions of MSC2716 its auth rule has said so,
 * in the others only the creator may put in history.
 */
export const mayPutIn = (
  version: RoomVersion,
  create: RoomEvent | undefined,
  sender: string,
): boolean =>
  version.historicalPower || (create !== undefined && creatorsOf(create).includes(sender))

/** Whether an event says that it was put in later. */
export const isHistorical = (content: JsonObject): boolean => content[historicalFlag] === true

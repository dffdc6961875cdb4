import { MatrixError } from '#core/error.ts'
import { type JsonObject, isObject } from '#core/json.ts'
import { annotationOf, canBeThreadRoot, threadRootOf } from '#core/relations.ts'
import { shardOfNid } from '#core/shard.ts'
import * as readIndex from '#store/event-index/read.ts'
import { packEventId } from '#store/room/event-id.ts'
import { loadEvent, loadEvents } from './events.ts'
import type { RelationsReader } from './relations.ts'
import { type RoomRef, findRoom } from './room.ts'

/** An event that a local user is about to send. */
export type Draft = {
  readonly sender: string
  readonly deviceId: string | undefined
  readonly txnId: string
  readonly type: string
  readonly content: JsonObject
}

/** Refuses events that relate to others as they must not; most relate to none and cost nothing. */
export async function refuseRelation(
  reader: RelationsReader,
  roomId: string,
  draft: Draft,
): Promise<void> {
  const root = threadRootOf(draft.content)
  const annotation = annotationOf(draft)
  if (root === undefined && annotation === undefined) return
  const room = await findRoom(reader.sql, roomId)
  if (!room) return
  if (root !== undefined) await refuseThread(reader, room, root)
  else await refuseDuplicate(reader, room, draft, annotation!)
}

/**
 * Spec: client-server-api/#validation-of-mthread-relationships
 */
async function refuseThread({ sql }: RelationsReader, room: RoomRef, rootId: string) {
  if (rootId.includes('\0')) return
  const root = await loadEvent(sql, room, rootId)
  if (root && !canBeThreadRoot(root.event.content))
    throw new MatrixError(
      400,
      'M_UNKNOWN',
      'A thread cannot begin at an event that relates to another',
    )
}

/**
 * Spec: client-server-api/#avoiding-duplicate-annotations
 */
async function refuseDuplicate(
  { sql, eventIndex }: RelationsReader,
  room: RoomRef,
  { sender, deviceId, txnId, type }: Draft,
  { eventId, key }: { eventId: string; key: string },
) {
  if (`${eventId}${type}`.includes('\0')) return
  await eventIndex?.reach([room.shard])
  const said = { sender, type, key: key.replaceAll('\0', ' ') }
  const [row] = await readIndex.annotation(sql, room, packEventId(eventId), said)
  if (!row) return
  const nid = row.event_nid
  const rooms = new Map([[room.roomNid, room]])
  const same = (await loadEvents(sql, rooms, [{ shard: shardOfNid(nid), nid }])).get(nid)
  if (!same || same.redactedBecause) return
  // A request that is repeated is answered as before.
  const { txn } = same.internal
  if (isObject(txn) && txn['deviceId'] === (deviceId ?? '') && txn['txnId'] === txnId) return
  throw new MatrixError(
    400,
    'M_DUPLICATE_ANNOTATION',
    'You have said the same of this event before',
  )
}

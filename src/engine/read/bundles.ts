import type { JsonObject } from '#core/json.ts'
import { relationOf } from '#core/relations.ts'
import { shardOfNid } from '#core/shard.ts'
import type { Sql } from '#store/db.ts'
import * as readIndex from '#store/event-index/read.ts'
import { packEventId, unpackEventId } from '#store/room/event-id.ts'
import { type Audience, type ReadEvent, isShown, loadEvents, writeEvent } from './events.ts'
import type { EventIndex } from './event-index.ts'
import type { RoomRef } from './room-ref.ts'
import type { Snapshots } from './snapshots.ts'
import { type Seen, visible } from './visible.ts'

export type BundleReader = {
  readonly sql: Sql
  readonly snapshots: Snapshots
  readonly eventIndex?: Pick<EventIndex, 'reach'> | undefined
}

const forEver = Number.MAX_SAFE_INTEGER

/**
 * What is told with events of those that relate to them, as the `m.relations` of their `unsigned`, by
 * their numbers. A number of statements that does not grow with the events.
 *
 * Spec: client-server-api/#aggregations-of-child-events
 */
export async function readBundles(
  reader: BundleReader,
  audience: Audience,
  ignored: ReadonlySet<string>,
  events: readonly ReadEvent[],
  seen: ReadonlyMap<number, Seen>,
): Promise<Map<number, JsonObject>> {
  const parents = events.filter(
    ({ event, chain }) => event.stateKey === undefined && chain !== undefined,
  )
  await reader.eventIndex?.reach(parents.map(({ room }) => room.shard))
  return new Bundling(reader, audience, [...ignored]).of(parents, seen, true)
}

/** The bundles of one answer. */
class Bundling {
  readonly #reader: BundleReader
  readonly #audience: Audience
  readonly #ignored: readonly string[]

  constructor(reader: BundleReader, audience: Audience, ignored: readonly string[]) {
    this.#reader = reader
    this.#audience = audience
    this.#ignored = ignored
  }

  async of(
    parents: readonly ReadEvent[],
    seen: ReadonlyMap<number, Seen>,
    withThreads: boolean,
  ): Promise<Map<number, JsonObject>> {
    const found = new Map<number, JsonObject>()
    if (parents.length === 0) return found
    const rows = await this.#read(parents, seen)
    if (rows.length === 0) return found
    const byNid = new Map(parents.map((parent) => [parent.nid, parent]))
    const children = await this.#children(rows, byNid, seen, withThreads)
    for (const row of rows) {
      const parent = byNid.get(row.event_nid)!
      const json = writeBundle(row, parent, children)
      if (Object.keys(json).length > 0) found.set(row.event_nid, json)
    }
    return found
  }

  async #read(parents: readonly ReadEvent[], seen: ReadonlyMap<number, Seen>) {
    const wanted = parents.map(({ nid, room, event }) => ({
      shard: room.shard,
      roomNid: room.roomNid,
      nid,
      eventId: packEventId(event.eventId),
      until: untilOf(seen.get(nid)),
    }))
    const { userId } = this.#audience
    return readIndex.bundles(this.#reader.sql, wanted, userId, this.#ignored)
  }

  /** The events that are told in full, as the reader gets them. */
  async #children(
    rows: readonly readIndex.BundleRow[],
    parents: ReadonlyMap<number, ReadEvent>,
    seen: ReadonlyMap<number, Seen>,
    withThreads: boolean,
  ): Promise<Map<number, JsonObject>> {
    const { sql, snapshots } = this.#reader
    const rooms = new Map<number, RoomRef>()
    const parentOf = new Map<number, number>()
    const threads: number[] = []
    for (const { event_nid: nid, replaced_by: replacement, latest_reply: reply } of rows) {
      const parent = parents.get(nid)!
      rooms.set(parent.room.roomNid, parent.room)
      if (replacement !== null && isReplaceable(parent)) parentOf.set(replacement, nid)
      if (reply === null || !withThreads) continue
      parentOf.set(reply, nid)
      threads.push(reply)
    }
    const loaded = await loadEvents(
      sql,
      rooms,
      [...parentOf.keys()].map((nid) => ({ shard: shardOfNid(nid), nid })),
    )
    const asks = [...loaded.values()]
      .filter((event) => isShown(event) && !event.redactedBecause)
      .map((event) => ({
        event,
        joinedUntil: seen.get(parentOf.get(event.nid)!)?.joinedUntil ?? forEver,
      }))
    const allowed = await visible(sql, snapshots, this.#audience.userId, asks)
    const latest = threads.flatMap((nid) => (allowed.has(nid) ? loaded.get(nid)! : []))
    const inner = await this.of(latest, allowed, false)
    const children = new Map<number, JsonObject>()
    for (const [nid, { membership }] of allowed)
      children.set(
        nid,
        writeEvent(loaded.get(nid)!, this.#audience, { membership, relations: inner.get(nid) }),
      )
    return children
  }
}

const untilOf = (seen: Seen | undefined): number =>
  seen && seen.joinedUntil >= 0 && Number.isFinite(seen.joinedUntil) ? seen.joinedUntil : forEver

/** What was redacted has no newer content, nor has what is a newer content itself. */
const isReplaceable = ({ event, redactedBecause }: ReadEvent): boolean =>
  !redactedBecause && relationOf(event.content)?.relType !== 'm.replace'

function writeBundle(
  row: readIndex.BundleRow,
  { room }: ReadEvent,
  children: ReadonlyMap<number, JsonObject>,
): JsonObject {
  const replacement = row.replaced_by === null ? undefined : children.get(row.replaced_by)
  const latest = row.latest_reply === null ? undefined : children.get(row.latest_reply)
  const { references } = row
  return {
    ...(replacement && { 'm.replace': replacement }),
    ...(latest && {
      'm.thread': {
        latest_event: latest,
        count: row.replies,
        current_user_participated: row.participated,
      },
    }),
    ...(references && {
      'm.reference': {
        chunk: references.map((id) => ({ event_id: unpackEventId(id, room.version) })),
      },
    }),
  }
}

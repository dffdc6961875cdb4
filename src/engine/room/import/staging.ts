import { parseJson } from '#core/canonical-json.ts'
import { notFound } from '#core/error.ts'
import { referenceHash } from '#core/event/hash.ts'
import { type ImportRecord, readRecord } from '#core/import/record.ts'
import { relatedTo } from '#core/import/relate.ts'
import type { Json } from '#core/json.ts'
import * as records from '#store/import/records.ts'
import * as sessions from '#store/import/sessions.ts'
import * as importChains from '#store/room/import-chains.ts'
import { SnapshotCache } from '#store/room/snapshot-cache.ts'
import { load, type Snapshot } from '#store/room/snapshots.ts'
import type { StateMap } from '#store/room/state-map.ts'
import { after } from '#engine/room/decide/decide.ts'
import { Names } from '#engine/room/import/names.ts'
import type { Rights } from '#engine/room/import/rights.ts'
import type { Parts } from '#engine/room/parts.ts'
import type { Known, Room } from '#engine/room/room.ts'
import { type Task, wait } from '#engine/room/task.ts'
import type { ImportMode, ImportPosition } from '#engine/worker/import-steps.ts'

/** What was asked for when a session was opened, as it is stored. */
export type Wish = {
  mode: ImportMode
  position: ImportPosition | null
  federate: boolean
  liveRoom: string | null
  userId: string
}

/** The event on which the next one of a chain stands. */
export type Tip = {
  nid: number
  eventId: string
  /** v1–v2: what cites it has to say its hash. */
  hash: string | undefined
}

export const tipOf = ({
  nid,
  event: { eventId, version, pdu },
}: Pick<Known, 'nid' | 'event'>): Tip => ({
  nid,
  eventId,
  hash: version.eventFormat === 'named' ? (referenceHash(version, pdu) ?? '') : undefined,
})

/** A record's event: `own` if it is of the same session. */
export type Named = { eventId: string; own: boolean }

/** Records that may wait in one session, and their bytes; further ones are made events without what they relate to. */
const maxWaiting = 50_000
const maxWaitingBytes = 32 * 2 ** 20
/** What a record that is remembered takes in memory, about. */
const recentBytes = 250

/**
 * A session in memory: where its chain ends, in what state, who speaks in it, and what waits. Thrown away
 * when something fails: the database knows all of it.
 */
export class Staging {
  readonly row: sessions.SessionRow
  readonly wish: Wish
  /** Undefined: the next event stands on the anchors. */
  tip: Tip | undefined
  nextIndex: number
  /** The state with which the next event begins. */
  snapshot: Snapshot
  /** The same, if it has no snapshot yet. */
  unsaved: StateMap | undefined
  readonly people: Map<string, sessions.PersonRow>
  readonly rights = new Map<string, Rights>()
  /** By the index that is kept for it. */
  readonly waiting = new Map<number, ImportRecord>()
  /** Records that are waited for, and the indexes of those that wait. */
  readonly #awaited = new Map<string, Set<number>>()
  /** Records whose events are remembered: most relate to what came shortly before. */
  readonly #recent = new Names<Named>()
  /** Names of those that wait. */
  readonly #waitingNames = new Set<string>()
  /** Every record of the source was brought since this is in memory. */
  readonly #knowsAll: boolean
  readonly #sizes = new Map<number, number>()
  #waitingBytes = 0
  /** The server ended in its commit, after that was done and before it could say so. */
  readonly isPublished: boolean

  private constructor(
    row: sessions.SessionRow,
    at: {
      tip: Tip | undefined
      nextIndex: number
      snapshot: Snapshot
      unsaved?: StateMap
      isPublished: boolean
      knowsAll: boolean
    },
    people: readonly sessions.PersonRow[],
  ) {
    this.row = row
    this.wish = JSON.parse(row.wish) as Wish
    this.tip = at.tip
    this.nextIndex = at.nextIndex
    this.snapshot = at.snapshot
    this.unsaved = at.unsaved
    this.isPublished = at.isPublished
    this.#knowsAll = at.knowsAll
    this.people = new Map(people.map((person) => [person.user_id, person]))
  }

  /** Reads a session of a room; the memberships that were committed last count, too. */
  static *load(parts: Parts, room: Room, sessionId: string): Task<Staging> {
    const { sql } = parts
    const row = yield* wait(sessions.byId(sql, sessionId))
    if (!row || row.room_nid !== room.nid || row.shard !== room.shard)
      throw notFound('There is no such import of this room')
    const { shard, chain } = row
    const last = yield* wait(importChains.lastFrom(sql, shard, chain, row.next_index))
    const tipNid = last?.event_nid ?? row.tip_nid
    const nextIndex = last ? last.chain_index + 1 : row.next_index
    const known =
      tipNid === null ? undefined : (yield* parts.events.byNids(room, [tipNid])).get(tipNid)!
    const nid = known?.snapshotNid ?? row.base_snapshot
    const cache = new SnapshotCache(1)
    const snapshot = (yield* wait(load(sql, shard, room.nid, [nid], cache))).get(nid)!
    const unsaved = known && known.stateKeyNid !== null ? after(snapshot.state, known) : undefined
    const people = yield* wait(sessions.people(sql, row).then((list) => list))
    const state = yield* wait(importChains.stateOf(sql, shard, chain))
    const staging = new Staging(
      row,
      {
        tip: known && tipOf(known),
        nextIndex,
        snapshot,
        ...(unsaved && { unsaved }),
        isPublished: typeof state?.published_at === 'number',
        knowsAll: row.next_batch === 0 && !(yield* wait(records.hasAny(sql, row))),
      },
      people,
    )
    const now = Number.MAX_SAFE_INTEGER / 2
    for (const each of yield* wait(records.waiting(sql, row).then((list) => list))) {
      const record = readRecord(parseJson(each.record) as Json, {
        serverName: parts.signing.serverName,
        now,
      })
      if ('srcId' in record) staging.await(each.chain_index, record, each.record.length)
    }
    return staging
  }

  get state(): StateMap {
    return this.unsaved ?? this.snapshot.state
  }

  depthAt(index: number): number {
    const { depth, dense } = this.row
    if (depth === null) throw new Error('the depths of an import are not planned')
    return dense ? depth + index : depth
  }

  /** What it takes in memory, about. */
  get bytes(): number {
    const { size, filterBytes } = this.#recent
    return recentBytes * (size + this.people.size) + filterBytes + 2 * this.#waitingBytes
  }

  /** Whether one more record may wait. */
  get mayWait(): boolean {
    return this.waiting.size < maxWaiting && this.#waitingBytes < maxWaitingBytes
  }

  /** A record of so many bytes waits, and its place is kept. */
  await(index: number, record: ImportRecord, bytes: number): void {
    this.waiting.set(index, record)
    this.#waitingNames.add(record.srcId)
    this.#sizes.set(index, bytes)
    this.#waitingBytes += bytes
    for (const name of relatedTo(record)) {
      const indexes = this.#awaited.get(name)
      if (indexes) indexes.add(index)
      else this.#awaited.set(name, new Set([index]))
    }
  }

  /** The indexes of what waits for a record, in order. */
  awaiting(srcId: string): number[] {
    return [...(this.#awaited.get(srcId) ?? [])].sort((a, b) => a - b)
  }

  settle(index: number): void {
    const record = this.waiting.get(index)
    if (!record) return
    this.waiting.delete(index)
    this.#waitingNames.delete(record.srcId)
    this.#waitingBytes -= this.#sizes.get(index)!
    this.#sizes.delete(index)
    for (const name of relatedTo(record)) {
      const indexes = this.#awaited.get(name)
      indexes?.delete(index)
      if (indexes?.size === 0) this.#awaited.delete(name)
    }
  }

  remember(srcId: string, named: Named): void {
    this.#recent.set(srcId, named)
  }

  recall(srcId: string): Named | undefined {
    return this.#recent.get(srcId)
  }

  /** Whether the database may know a record of this name; if not, it is not asked. */
  mayBeThere(srcId: string): boolean {
    return !this.#knowsAll || this.#waitingNames.has(srcId) || this.#recent.mayHave(srcId)
  }
}

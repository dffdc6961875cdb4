import { LRUCache } from 'lru-cache'
import { atMost } from '#core/at-most.ts'
import { parseJson } from '#core/canonical-json.ts'
import { type JsonObject, isObject } from '#core/json.ts'
import { evaluate } from '#core/push/evaluate.ts'
import { PatternBudget, stepsOfRead } from '#core/push/match.ts'
import { pushFacts } from '#core/push/facts.ts'
import { threadRootOf } from '#core/relations.ts'
import { shardOf } from '#core/shard.ts'
import type { News } from '#engine/read/news.ts'
import type { Place } from '#engine/read/places.ts'
import type { Positions } from '#engine/read/positions.ts'
import type { Vector } from '#engine/read/vector.ts'
import type { Sql } from '#store/db.ts'
import * as readKeys from '#store/room/read-keys.ts'
import * as readUnread from '#store/room/read-unread.ts'
import * as receipts from '#store/user/receipts.ts'
import { type Arrivals, type Counted, type Counts, type Unread, countArrivals } from './arrivals.ts'
import { type OwnRules, PushRules } from './push-rules.ts'

/**
 * Events of one room that are looked at, from the newest back: what is older is not counted. As many again
 * may come before that is done anew.
 */
const maxCounted = 500
/** The same where each event is looked at whole, for a user with rules of their own. */
const maxEvaluated = 100
/** Rooms whose events are looked at whole in one go: between them others have their turn. */
const roomsAtOnce = 20

type Item = { position: number; root: string | undefined; own: boolean } & Counts
type InRoom = { main: Counts; items: Item[]; looked: number }
type Reads = { all: number; threads: Map<string, number> }
type Kept = Counted & { key: string }
type Reading = {
  sql: Sql
  positions: Positions
  userId: string
  ignored: ReadonlySet<string>
  news?: News
  /** What came, by room number, where it is known. */
  arrivals?: ReadonlyMap<number, Arrivals>
}

/**
 * How much users have not read, folded from the live events after their receipts: nothing is written
 * per user when an event comes. What was counted is kept until the room or the receipts change.
 *
 * Spec: client-server-api/#receiving-notifications
 */
export class UnreadCounts {
  readonly #kept = new LRUCache<string, Kept>(atMost(50_000))
  /** Roots of threads by event, which never change. */
  readonly #roots = new LRUCache<number, string>(atMost(100_000))
  readonly #read = new LRUCache<string, { at: number; reads: Reads }>(atMost(50_000))
  readonly #rules = new PushRules()

  /** By room number; four statements at most, however many rooms there are. */
  async read(reading: Reading, rooms: readonly Place[], vector: Vector) {
    const { sql, positions, userId, ignored, news, arrivals } = reading
    const found = new Map<number, Unread>()
    if (rooms.length === 0) return found
    const [reads, rules] = await Promise.all([
      this.#reads(reading, rooms, vector.users[shardOf(userId)]!),
      this.#rules.of(sql, userId, vector.users[shardOf(userId)]!, news),
    ])
    const wanted: { place: Place; stretch: readUnread.Stretch; reads: Reads; key: string }[] = []
    for (const place of rooms) {
      const { shard, roomNid, roomId, position } = place
      const own = reads.get(roomId)!
      // Nobody has to read what was said before they came.
      const low = Math.max(own.all, position)
      const mainLow = Math.max(low, own.threads.get('main') ?? 0)
      const high = vector.rooms[shard]!
      const key = JSON.stringify([low, [...own.threads], rules.position, [...ignored]])
      const kept = this.#kept.get(`${userId} ${roomNid}`)
      const isCurrent = kept && positions.roomChanged(shard, roomNid, kept.at) === false
      const isSame = kept?.key === key && kept.at <= high
      const came = isSame && !isCurrent && !rules.compiled ? arrivals?.get(roomNid) : undefined
      const audience = { userId, ignored, mainLow, most: maxCounted }
      // Others of its shard may have been told of since: what matters is that the room was not.
      const follows = came && positions.roomRested(shard, roomNid, kept!.at, came.low)
      const more = follows && countArrivals(kept!, came, audience)
      if (isSame && isCurrent) found.set(roomNid, kept.unread)
      else if (more && more.looked <= 2 * maxCounted) {
        found.set(roomNid, more.unread)
        this.#kept.set(`${userId} ${roomNid}`, { key, at: high, ...more })
      } else
        wanted.push({ place, stretch: { shard, roomNid, low, mainLow, high }, reads: own, key })
    }
    if (wanted.length === 0) return found
    const stretches = wanted.map((each) => each.stretch)
    const read = rules.compiled
      ? await this.#evaluated(reading, rules, rooms, stretches)
      : await this.#counted(reading, stretches)
    for (const { place, stretch, reads: own, key } of wanted) {
      const { main, items, looked } = read.get(place.roomNid) ?? nothing()
      const unread = fold(main, items, stretch, own)
      found.set(place.roomNid, unread)
      this.#kept.set(`${userId} ${place.roomNid}`, { key, at: stretch.high, unread, looked })
    }
    return found
  }

  /** How far a user has read in each room; what was read at a position holds until another receipt comes. */
  async #reads(
    { sql, userId, news }: Reading,
    rooms: readonly Place[],
    at: number,
  ): Promise<Map<string, Reads>> {
    const found = new Map<string, Reads>()
    const missing: string[] = []
    for (const { roomId } of rooms) {
      const known = this.#read.get(`${userId} ${roomId}`)
      if (known && news?.isSame('receipts', known.at)) found.set(roomId, known.reads)
      else missing.push(roomId)
    }
    if (missing.length === 0) return found
    for (const roomId of missing) found.set(roomId, { all: 0, threads: new Map() })
    for (const row of await receipts.own(sql, shardOf(userId), userId, missing)) {
      const reads = found.get(row.room_id)!
      if (row.thread_id === '') reads.all = row.event_position ?? 0
      else reads.threads.set(row.thread_id, row.event_position ?? 0)
    }
    for (const roomId of missing)
      this.#read.set(`${userId} ${roomId}`, { at, reads: found.get(roomId)! })
    return found
  }

  /** By the default rules: what is in no thread comes counted, only threads are gone through. */
  async #counted({ sql, userId, ignored }: Reading, stretches: readonly readUnread.Stretch[]) {
    const rows = await readUnread.counts(sql, userId, [...ignored], stretches, maxCounted)
    const shards = new Map(stretches.map(({ roomNid, shard }) => [roomNid, shard]))
    const missing = rows.flatMap(({ room_nid: room, nids }) =>
      (nids ?? [])
        .filter((nid) => !this.#roots.has(nid))
        .map((nid) => [shards.get(room)!, nid] as const),
    )
    const roots = new Map<number, string>()
    if (missing.length > 0)
      for (const row of await readKeys.jsonOf(
        sql,
        missing.map(([shard]) => shard),
        missing.map(([, nid]) => nid),
      )) {
        const root = threadRootOf(contentOf(parseJson(row.json) as JsonObject)) ?? ''
        roots.set(row.event_nid, root)
        this.#roots.set(row.event_nid, root)
      }
    const found = new Map<number, InRoom>()
    for (const row of rows) {
      const { room_nid: room, notify, highlight, nids, positions, flags, owned, looked } = row
      const items = (nids ?? []).map((nid, at): Item => ({
        position: positions![at]!,
        root: roots.get(nid) ?? this.#roots.get(nid),
        own: owned![at] === 1,
        notify: flags![at]! & pushFacts.notify ? 1 : 0,
        highlight: flags![at]! & pushFacts.highlight ? 1 : 0,
      }))
      found.set(room, { main: { notify, highlight }, items, looked })
    }
    return found
  }

  /** By rules of a user's own, which are asked of each event; a few rooms in one go. */
  async #evaluated(
    reading: Reading,
    rules: OwnRules,
    rooms: readonly Place[],
    stretches: readonly readUnread.Stretch[],
  ) {
    const { sql, userId, ignored } = reading
    const roomIds = new Map(rooms.map(({ roomNid, roomId }) => [roomNid, roomId]))
    const found = new Map<number, InRoom>()
    const budget = new PatternBudget(stepsOfRead)
    for (let from = 0; from < stretches.length; from += roomsAtOnce) {
      const some = stretches.slice(from, from + roomsAtOnce)
      const rows = await readUnread.events(sql, userId, [...ignored], some, maxEvaluated)
      judge(rows, rules, roomIds, budget, found)
    }
    return found
  }
}

type Found = Map<number, { main: Counts; items: Item[] }>

function judge(
  rows: readonly readUnread.EventRow[],
  { compiled, displayName }: OwnRules,
  roomIds: ReadonlyMap<number, string>,
  budget: PatternBudget,
  found: Found,
): void {
  for (const row of rows) {
    const json = parseJson(row.json) as JsonObject
    const verdict = row.own
      ? undefined
      : evaluate(
          compiled!,
          {
            event: { ...json, room_id: roomIds.get(row.room_nid)! },
            joinedMembers: row.joined_members,
            mayNotifyRoom: (row.push_flags & pushFacts.roomNotifier) !== 0,
            displayName,
          },
          budget,
        )
    const room = found.get(row.room_nid) ?? nothing()
    found.set(row.room_nid, room)
    room.items.push({
      position: row.position,
      root: threadRootOf(contentOf(json)),
      own: row.own,
      notify: verdict?.notify ? 1 : 0,
      highlight: verdict?.highlight ? 1 : 0,
    })
  }
}

const nothing = (): InRoom => ({ main: none(), items: [], looked: 0 })

const none = (): Counts => ({ notify: 0, highlight: 0 })

function contentOf(json: JsonObject): JsonObject {
  const { content } = json
  return isObject(content) ? content : {}
}

/** Items are oldest first: what a user sends ends what they had not read of its thread. */
function fold(
  counted: Counts,
  items: readonly Item[],
  { mainLow }: readUnread.Stretch,
  reads: Reads,
): Unread {
  let main = { ...counted }
  const threads = new Map<string, Counts>()
  for (const { position, root, own, notify, highlight } of items) {
    if (root === undefined) {
      if (own) main = none()
      else if (position > mainLow) {
        main.notify += notify
        main.highlight += highlight
      }
      continue
    }
    const counts = threads.get(root) ?? none()
    if (own) threads.delete(root)
    else if (position > (reads.threads.get(root) ?? 0) && notify + highlight > 0)
      threads.set(root, {
        notify: counts.notify + notify,
        highlight: counts.highlight + highlight,
      })
  }
  return { main, threads }
}

import { clientEvent } from '#core/event/client-format.ts'
import type { JsonObject } from '#core/json.ts'
import { defaultRules } from '#core/push/default-rules.ts'
import { type Verdict, compileRules, evaluate } from '#core/push/evaluate.ts'
import { pushFacts } from '#core/push/facts.ts'
import { threadRootOf } from '#core/relations.ts'
import { shardOf } from '#core/shard.ts'
import { type ReadEvent, loadEvents } from '#engine/read/events.ts'
import type { View } from '#engine/read/positions.ts'
import { UserWishes, type Wish } from '#engine/push/wishes.ts'
import type { Sql } from '#store/db.ts'
import * as history from '#store/push/history.ts'
import * as profiles from '#store/user/profiles.ts'
import * as receipts from '#store/user/receipts.ts'

export type Notification = {
  room_id: string
  event: JsonObject
  actions: Verdict['actions']
  read: boolean
  ts: number
}

export type HistoryRequest = {
  userId: string
  view: View
  from: history.From | undefined
  limit: number
  onlyHighlights: boolean
}

/** Candidates that are read at once, and how often: a page may end before it is full. */
const maxRead = 200
const maxRounds = 5

type Reads = Map<string, Map<string, number>>

/**
 * What a user was notified of, or would be by the rules of today, the newest first. Nothing is kept for
 * it: it is worked out of the newest events of the user's rooms.
 *
 * Spec: client-server-api/#listing-notifications
 */
export async function readHistory(
  sql: Sql,
  { userId, view, from, limit, onlyHighlights }: HistoryRequest,
): Promise<{ notifications: Notification[]; next: history.From | undefined }> {
  const joined = view.places.filter(({ membership }) => membership === 'join')
  const notifications: Notification[] = []
  if (joined.length === 0) return { notifications, next: undefined }
  const rooms = new Map(joined.map((place) => [place.roomNid, place]))
  const windows = joined.map(({ shard, roomNid, position }) => ({
    shard,
    roomNid,
    low: position,
    high: view.vector.rooms[shard]!,
  }))
  const [wishes, reads, name] = await Promise.all([
    new UserWishes(() => 0).of(sql, [userId]),
    readsOf(
      sql,
      userId,
      joined.map(({ roomId }) => roomId),
    ),
    nameOf(sql, userId),
  ])
  const wish = wishes.get(userId)!
  const rules = wish.rules ?? compileRules(defaultRules(userId))
  let next = from
  for (let round = 0; round < maxRounds; round++) {
    const rows = await history.candidates(sql, userId, windows, {
      from: next,
      all: wish.rules !== undefined,
      limit: maxRead,
    })
    const events = await loadEvents(
      sql,
      rooms,
      rows.map((row) => ({ shard: row.shard, nid: row.event_nid })),
    )
    for (const row of rows) {
      if (notifications.length === limit) return { notifications, next }
      next = { ts: row.ts, nid: row.event_nid }
      const event = events.get(row.event_nid)
      const verdict = event && verdictOn(event, row, { rules, wish, name })
      if (!verdict?.notify || (onlyHighlights && !verdict.highlight)) continue
      notifications.push(notificationOf(event!, row, verdict, reads))
    }
    if (rows.length < maxRead) return { notifications, next: undefined }
  }
  return { notifications, next }
}

type Judging = { rules: ReturnType<typeof compileRules>; wish: Wish; name: string | undefined }

function verdictOn(
  { event, redactedBecause, withheld, room }: ReadEvent,
  { joined_members: joinedMembers, push_flags: flags }: history.Candidate,
  { rules, wish, name }: Judging,
): Verdict | undefined {
  if (redactedBecause || withheld || wish.ignored.has(event.sender)) return undefined
  return evaluate(rules, {
    event: { ...event.pdu, room_id: room.roomId },
    joinedMembers,
    mayNotifyRoom: (flags & pushFacts.roomNotifier) !== 0,
    displayName: name,
  })
}

function notificationOf(
  { event, room }: ReadEvent,
  { position, ts }: history.Candidate,
  { actions }: Verdict,
  reads: Reads,
): Notification {
  const threads = reads.get(room.roomId)
  const root = threadRootOf(event.content) ?? 'main'
  const readTo = Math.max(threads?.get('') ?? 0, threads?.get(root) ?? 0)
  return {
    room_id: room.roomId,
    event: clientEvent(event, { withoutRoomId: true }),
    actions,
    read: position <= readTo,
    ts,
  }
}

async function readsOf(sql: Sql, userId: string, roomIds: readonly string[]): Promise<Reads> {
  const found: Reads = new Map()
  for (const row of await receipts.own(sql, shardOf(userId), userId, roomIds)) {
    const threads = found.get(row.room_id) ?? new Map<string, number>()
    found.set(row.room_id, threads.set(row.thread_id, row.event_position ?? 0))
  }
  return found
}

/** Not spec: the name of the profile, where rooms may have another. */
async function nameOf(sql: Sql, userId: string): Promise<string | undefined> {
  const rows = await profiles.list(sql, [userId], [shardOf(userId)])
  const value = rows.find(({ name }) => name === 'displayname')?.value
  const name: unknown = value === undefined ? undefined : JSON.parse(value)
  return typeof name === 'string' ? name : undefined
}

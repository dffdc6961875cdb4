import { parseJson } from '#core/canonical-json.ts'
import { isObject, type JsonObject } from '#core/json.ts'
import { defaultRules } from '#core/push/default-rules.ts'
import { type PushEvent, type Verdict, compileRules, evaluate } from '#core/push/evaluate.ts'
import { pushFacts } from '#core/push/facts.ts'
import { shardOf } from '#core/shard.ts'
import type { MembersAt, RoomMembers } from '#engine/push/room-members.ts'
import type { UserWishes, Wish } from '#engine/push/wishes.ts'
import type { Pool } from '#store/db.ts'
import * as follow from '#store/push/follow.ts'
import type { Notice } from '#store/push/queue.ts'
import type { Stretch } from '#store/two-cursors.ts'
import * as profiles from '#store/user/profiles.ts'

/** What some stretches have for pushers. */
export type Found = {
  /** What was looked at: less than was asked for, if it was enough. */
  stretches: Stretch[]
  notices: Notice[]
  /** Members with pushers who sent something themselves. */
  senders: string[]
}

/** One event, and whom it may have to be told to. */
type Case = {
  shard: number
  roomNid: number
  eventNid: number
  position: number
  sender: string | undefined
  flags: number
  mentioned: ReadonlySet<string>
  readers: readonly string[]
}

/** Notices of one transaction: with so many the rest waits for the next. */
const maxNotices = 10_000
/** How long the main thread is kept at most before others have their turn. */
const turnMs = 5

/** What the default rules say of an event to whom it does not name. */
const plainRules = compileRules(defaultRules(''))
const nobodyNamed: ReadonlySet<string> = new Set()

/** Finds out what is to be pushed, room by room: a few statements for a batch of events of all rooms. */
export class Judge {
  readonly #sql: Pool
  readonly #members: RoomMembers
  readonly #wishes: UserWishes

  constructor(sql: Pool, members: RoomMembers, wishes: UserWishes) {
    this.#sql = sql
    this.#members = members
    this.#wishes = wishes
  }

  async look(stretches: readonly Stretch[]): Promise<Found> {
    const sql = this.#sql
    const [fresh, invites] = await Promise.all([
      follow.fresh(sql, stretches),
      follow.invites(sql, stretches),
    ])
    if (fresh.length + invites.length === 0)
      return { stretches: [...stretches], notices: [], senders: [] }
    const lows = new Map(stretches.map(({ shard, from }) => [shard, from]))
    const rooms = [...new Map(fresh.map((row) => [row.room_nid, row])).values()]
    const membersAt = await this.#members.of(sql, rooms, (shard) => lows.get(shard)!)
    const { cases, senders } = casesOf(fresh, membersAt)
    for (const { user_id: userId, ...row } of invites)
      cases.push({
        shard: row.shard,
        roomNid: row.room_nid,
        eventNid: row.event_nid,
        position: row.position,
        sender: undefined,
        flags: pushFacts.notify,
        mentioned: nobodyNamed,
        readers: [userId],
      })
    cases.sort((a, b) => a.shard - b.shard || a.position - b.position)
    return { ...(await this.#judge(stretches, cases)), senders: [...senders] }
  }

  async #judge(stretches: readonly Stretch[], cases: readonly Case[]) {
    const sql = this.#sql
    const readers = new Set(cases.flatMap((each) => each.readers))
    const wishes = await this.#wishes.of(sql, readers)
    const needed = cases.filter((each) =>
      each.readers.some((user) => mayNotify(each, user, wishes)),
    )
    const nids = needed.map((each) => each.eventNid)
    const [rows, names] = await Promise.all([
      nids.length > 0
        ? follow.texts(
            sql,
            needed.map((each) => each.shard),
            nids,
          )
        : [],
      this.#namesOf(wishes),
    ])
    const texts = new Map(rows.map((row) => [row.event_nid, row]))
    const notices: Notice[] = []
    let turn = performance.now()
    for (const [index, each] of needed.entries()) {
      const row = texts.get(each.eventNid)
      if (!row) continue
      for (const notice of judgeCase(each, row, wishes, names)) {
        notices.push(notice)
        if (performance.now() - turn < turnMs) continue
        await new Promise(setImmediate)
        turn = performance.now()
      }
      const next = needed[index + 1]
      const isLast = next?.shard !== each.shard || next.position !== each.position
      if (notices.length >= maxNotices && next && isLast)
        return { stretches: cutBefore(stretches, next), notices }
    }
    return { stretches: [...stretches], notices }
  }

  /** What those are called whose rules ask for it. Not spec: by their profile, where rooms may have another name. */
  async #namesOf(wishes: ReadonlyMap<string, Wish>): Promise<ReadonlyMap<string, string>> {
    const asking = [...wishes].flatMap(([userId, { asksName }]) => (asksName ? [userId] : []))
    const names = new Map<string, string>()
    if (asking.length === 0) return names
    const shards = asking.map((userId) => shardOf(userId))
    for (const row of await profiles.list(this.#sql, asking, shards)) {
      const value: unknown = row.name === 'displayname' ? JSON.parse(row.value) : undefined
      if (typeof value === 'string') names.set(row.user_id, value)
    }
    return names
  }
}

function casesOf(fresh: readonly follow.Fresh[], membersAt: MembersAt) {
  const senders = new Set<string>()
  const cases: Case[] = []
  for (const row of fresh) {
    const members = membersAt(row.room_nid, row.position)
    if (members.size === 0) continue
    if (members.has(row.sender)) senders.add(row.sender)
    cases.push({
      shard: row.shard,
      roomNid: row.room_nid,
      eventNid: row.event_nid,
      position: row.position,
      sender: row.sender,
      flags: row.push_flags,
      mentioned: row.mentioned ? new Set(row.mentioned) : nobodyNamed,
      readers: [...members].filter((userId) => userId !== row.sender),
    })
  }
  return { cases, senders }
}

/** Whether the rules of a user have to be asked: what the default ones say is known. */
const mayNotify = (
  { flags, mentioned }: Case,
  userId: string,
  wishes: ReadonlyMap<string, Wish>,
): boolean =>
  (flags & pushFacts.notify) !== 0 ||
  mentioned.has(userId) ||
  wishes.get(userId)!.rules !== undefined

function* judgeCase(
  each: Case,
  { room_id: roomId, joined_members: joinedMembers, push_flags: flags, json }: follow.Told,
  wishes: ReadonlyMap<string, Wish>,
  names: ReadonlyMap<string, string>,
): Generator<Notice> {
  const pdu = parseJson(json)
  if (!isObject(pdu)) return
  const event: JsonObject = { ...pdu, room_id: roomId }
  const subject: Omit<PushEvent, 'displayName'> = {
    event,
    joinedMembers,
    mayNotifyRoom: (flags & pushFacts.roomNotifier) !== 0,
  }
  const { sender } = pdu
  if (typeof sender !== 'string') return
  let plain: Verdict | undefined | null = null
  for (const userId of each.readers) {
    const wish = wishes.get(userId)!
    if (userId === sender || wish.ignored.has(sender) || !mayNotify(each, userId, wishes)) continue
    let verdict: Verdict | undefined
    if (wish.rules) verdict = evaluate(wish.rules, { ...subject, displayName: names.get(userId) })
    else if (each.sender === undefined || each.mentioned.has(userId))
      verdict = evaluate(compileRules(defaultRules(userId)), { ...subject, displayName: undefined })
    else {
      // The same for all whom it does not name.
      if (plain === null) plain = evaluate(plainRules, { ...subject, displayName: undefined })
      verdict = plain
    }
    if (!verdict?.notify) continue
    const { roomNid, eventNid, position } = each
    yield { userId, roomNid, eventNid, position, actions: JSON.stringify(verdict.actions) }
  }
}

/** What was looked at before an event; nothing of the shards after its own. */
const cutBefore = (stretches: readonly Stretch[], { shard, position }: Case): Stretch[] =>
  stretches.flatMap((stretch) => {
    if (stretch.shard < shard) return [stretch]
    if (stretch.shard > shard || position - 1 <= stretch.from) return []
    return [{ ...stretch, to: position - 1 }]
  })

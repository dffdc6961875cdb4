import { unavailable } from '#core/error.ts'
import { parseJson } from '#core/canonical-json.ts'
import {
  failed,
  type FailedRecord,
  type ImportRecord,
  readRecord,
  textFault,
} from '#core/import/record.ts'
import { relatedTo } from '#core/import/relate.ts'
import type { JsonObject } from '#core/json.ts'
import * as records from '#store/import/records.ts'
import type { Sql } from '#store/db.ts'
import * as sessions from '#store/import/sessions.ts'
import { stage } from '#store/room/commit.ts'
import type { Interned } from '#store/room/intern.ts'
import { unpackEventId } from '#store/room/event-id.ts'
import { planDepth } from '#engine/room/import/depth.ts'
import { leaderOf } from '#engine/room/import/leader.ts'
import { Reserve } from '#engine/room/import/reserve.ts'
import { type MemberWish, type Refusals, TakeMembers } from '#engine/room/import/members.ts'
import { type Piece, PieceBuilder } from '#engine/room/import/piece.ts'
import { type Rights, rightsOf } from '#engine/room/import/rights.ts'
import type { Named, Staging } from '#engine/room/import/staging.ts'
import type { Lane } from '#engine/room/lane.ts'
import { shardOfRoom } from '#engine/room/parts.ts'
import type { Known, Room } from '#engine/room/room.ts'
import { type Task, wait } from '#engine/room/task.ts'
import type { ImportBatch } from '#engine/worker/import-steps.ts'

/** Records read in one go. */
const perStep = 50

type Tally = {
  accepted: number
  duplicates: number
  failed: FailedRecord[]
  firstTs: number | null
  lastTs: number | null
}

type Input = Pick<ImportBatch, 'batch'> & {
  /** JSON texts. */
  records: readonly string[]
  /** Only those who are named among the people of the session may speak. */
  namedOnly: boolean
}

/** One batch on its way into the chain of its session. */
export class Intake {
  readonly tally: Tally = {
    accepted: 0,
    duplicates: 0,
    failed: [],
    firstTs: null,
    lastTs: null,
  }
  degraded = 0
  readonly #lane: Lane
  readonly #staging: Staging
  readonly #input: Input
  readonly #nids: number[] = []
  /** The transaction that is under way. */
  #flying: Promise<void> | undefined
  #anchors: readonly Known[] = []
  readonly #refused: Refusals = new Map()
  readonly #isStopping: () => boolean

  constructor(lane: Lane, staging: Staging, input: Input, isStopping: () => boolean = () => false) {
    this.#lane = lane
    this.#isStopping = isStopping
    this.#staging = staging
    this.#input = input
  }

  async run(): Promise<void> {
    const { records: texts } = this.#input
    await this.#reserve(texts.length + this.#staging.waiting.size)
    try {
      for (let from = 0; from < texts.length;) {
        // The rest is taken when the batch is sent again.
        if (this.#isStopping()) throw unavailable('The server is stopping')
        await this.#lane.parts.yielding.run(async (most) => {
          const some = texts.slice(from, from + most)
          from += some.length
          await this.#take(some)
          return { flying: this.#flying }
        })
      }
      await this.#flying
    } catch (error) {
      // Whatever becomes of it, the staging in memory is of no use any more.
      await this.#flying?.catch(() => {})
      throw error
    }
  }

  /** Makes events of all that waits, without what is not there. */
  async settleAll(): Promise<void> {
    const staging = this.#staging
    const indexes = [...staging.waiting.keys()].sort((a, b) => a - b)
    await this.#reserve(indexes.length)
    for (let from = 0; from < indexes.length;) {
      await this.#lane.parts.yielding.run(async (most) => {
        const some = indexes.slice(from, from + most)
        from += some.length
        const waiting = some.flatMap((index) => staging.waiting.get(index) ?? [])
        const known = await this.#behind((room) => this.#lookUp(room, waiting))
        const piece = await this.#behind((room) => this.#settle(room, some, waiting, known.named))
        this.#write(piece)
        await this.#flying
        return { flying: undefined }
      })
    }
  }

  /**
   * Numbers of events are given out of memory, ahead of what is committed: a commit of the lane makes sure
   * that the shard never gives them out again.
   */
  async #reserve(count: number): Promise<void> {
    const shard = shardOfRoom(this.#lane.parts, this.#lane)
    for (let index = 0; index < count; index++) this.#nids.push(shard.nextNid())
    // The smallest first.
    this.#nids.reverse()
    if (count > 0) await this.#lane.perform<null>((answer) => new Reserve(answer))
  }

  /** Runs a task of the import among the turns of the worker, behind what local users wait for. */
  #behind<T>(look: (room: Room) => Task<T>): Promise<T> {
    const lane = this.#lane
    return lane.parts.turns.seat(false).run(
      (function* () {
        const room = yield* lane.load()
        if (!room) throw new Error(`${lane.roomId} is gone`)
        return yield* look(room)
      })(),
    )
  }

  async #take(texts: readonly string[]): Promise<void> {
    const staging = this.#staging
    const read = await this.#behind(() => this.#read(texts))
    const { fresh, named } = await this.#behind((room) => this.#sift(room, read))
    if (staging.row.depth === null && fresh[0]) await this.#planDepth(fresh[0].ts)
    const newcomers = await this.#behind((room) => this.#newcomers(room, fresh))
    if (newcomers.length > 0 || staging.unsaved) {
      // What is behind the end of the chain in the database must not come before it.
      await this.#flying
      await this.#join(newcomers, fresh[0]?.ts ?? 0)
    }
    const piece = await this.#behind((room) => this.#build(room, fresh, named))
    await this.#flying
    this.#write(piece)
  }

  *#read(texts: readonly string[]): Task<ImportRecord[]> {
    const { parts } = this.#lane
    const options = { serverName: parts.signing.serverName, now: parts.now() }
    const found: ImportRecord[] = []
    for (const [index, text] of texts.entries()) {
      const fault = textFault(text)
      if (fault) {
        this.tally.failed.push(fault)
        continue
      }
      const value = parseJson(text)
      if (value === undefined) {
        this.tally.failed.push(failed('', 'M_NOT_JSON', 'The record is not JSON'))
        continue
      }
      const record = readRecord(value, options)
      if ('errcode' in record) this.tally.failed.push(record)
      else found.push(record)
      if (index % perStep === perStep - 1) yield
    }
    return found
  }

  /** What is not there yet, and the events of what is. */
  *#sift(
    room: Room,
    all: readonly ImportRecord[],
  ): Task<{ fresh: ImportRecord[]; named: Map<string, Named> }> {
    const { row } = this.#staging
    const { named, rows } = yield* this.#lookUp(room, all)
    const seen = new Set<string>()
    const fresh: ImportRecord[] = []
    for (const record of all) {
      const { srcId } = record
      const known = rows.get(srcId)
      // Of this very batch, which was broken off.
      if (known?.session_nid === row.session_nid && known.batch === this.#input.batch) {
        if (seen.has(srcId)) this.tally.duplicates++
        else this.#count(record)
      } else if (known || seen.has(srcId) || this.#staging.recall(srcId)) this.tally.duplicates++
      else fresh.push(record)
      seen.add(srcId)
    }
    return { fresh, named }
  }

  #count({ ts }: ImportRecord): void {
    this.tally.accepted++
    this.tally.firstTs = least(this.tally.firstTs, ts)
    this.tally.lastTs = greatest(this.tally.lastTs, ts)
  }

  *#lookUp(
    room: Room,
    all: readonly ImportRecord[],
  ): Task<{ named: Map<string, Named>; rows: Map<string, records.KnownRecord> }> {
    const { row } = this.#staging
    const names = new Set<string>()
    for (const record of all) {
      if (this.#staging.mayBeThere(record.srcId)) names.add(record.srcId)
      for (const name of relatedTo(record))
        if (!this.#staging.recall(name) && this.#staging.mayBeThere(name)) names.add(name)
    }
    const { sql } = this.#lane.parts
    const found =
      names.size === 0 ? [] : yield* wait(records.known(sql, row, [...names]).then((list) => list))
    const named = new Map<string, Named>()
    for (const each of found)
      if (each.event_id)
        named.set(each.src_id, {
          eventId: unpackEventId(each.event_id, room.version),
          own: each.session_nid === row.session_nid,
        })
    return { named, rows: new Map(found.map((each) => [each.src_id, each])) }
  }

  async #planDepth(ts: number): Promise<void> {
    const { row } = this.#staging
    const plan = await this.#behind((room) => planDepth(this.#lane.parts, room, this.#staging, ts))
    await sessions.setDepth(this.#lane.parts.sql, row, plan)
    Object.assign(row, plan)
  }

  /** Who speaks and is not in the room yet. */
  *#newcomers(room: Room, all: readonly ImportRecord[]): Task<string[]> {
    const speakers = [...new Set(all.map((record) => record.sender))].filter(
      (sender) => !this.#refused.has(sender) && this.#maySpeak(sender),
    )
    const rights = yield* this.#rightsOf(room, speakers)
    return speakers.filter(
      (sender) => !rights.get(sender)!.isJoined && this.#staging.people.has(sender),
    )
  }

  #maySpeak(sender: string): boolean {
    return !this.#input.namedOnly || this.#staging.people.has(sender)
  }

  /** What users may say; it is remembered. */
  *#rightsOf(room: Room, users: readonly string[]): Task<ReadonlyMap<string, Rights>> {
    const { rights: known, state } = this.#staging
    const others = users.filter((user) => !known.has(user))
    if (others.length > 0)
      for (const [user, rights] of yield* rightsOf(this.#lane.parts, room, state, others))
        known.set(user, rights)
    return known
  }

  /** Lets newcomers join within the chain, invited where they have to be. */
  async #join(users: readonly string[], ts: number): Promise<void> {
    const staging = this.#staging
    const leader = await this.#behind((room) =>
      leaderOf(this.#lane.parts, room, staging.state, [staging.wish.userId]),
    )
    const wishes = users.map((user): MemberWish => {
      const person = staging.people.get(user)!
      const profile: JsonObject = {
        ...(person.displayname !== null && { displayname: person.displayname }),
        ...(person.avatar_url !== null && { avatar_url: person.avatar_url }),
      }
      const join = { sender: user, target: user, content: { ...profile, membership: 'join' }, ts }
      if (!leader?.mayInvite) return join
      const content = { ...profile, membership: 'invite' }
      return { ...join, invite: { sender: leader.userId, target: user, content, ts } }
    })
    const refusals = await this.#lane.perform<Refusals>(
      (answer) => new TakeMembers(answer, staging, wishes),
    )
    for (const [user, reason] of refusals) this.#refused.set(user, reason)
  }

  *#build(
    room: Room,
    fresh: readonly ImportRecord[],
    named: ReadonlyMap<string, Named>,
  ): Task<Piece> {
    const builder = yield* this.#builder(room, fresh, named, false)
    const good: ImportRecord[] = []
    for (const record of fresh) {
      const refusal = this.#refused.get(record.sender)
      if (refusal !== undefined || !this.#maySpeak(record.sender))
        builder.piece.failed.push(
          failed(record.srcId, 'M_FORBIDDEN', refusal ?? 'The sender is not named in this import'),
        )
      else good.push(record)
    }
    yield* builder.addAll(good)
    const lost = new Set(builder.piece.failed.map((each) => each.src_id))
    for (const record of good) if (!lost.has(record.srcId)) this.#count(record)
    return builder.piece
  }

  *#settle(
    room: Room,
    indexes: readonly number[],
    waiting: readonly ImportRecord[],
    named: ReadonlyMap<string, Named>,
  ): Task<Piece> {
    const builder = yield* this.#builder(room, waiting, named, true)
    for (const index of indexes) {
      builder.settle(index)
      yield
    }
    return builder.piece
  }

  *#builder(
    room: Room,
    all: readonly ImportRecord[],
    known: ReadonlyMap<string, Named>,
    isLast: boolean,
  ): Task<PieceBuilder> {
    const { parts } = this.#lane
    const staging = this.#staging
    const rights = new Map<string, Rights>()
    const users = new Set(all.map(({ sender }) => sender))
    const types = new Set(all.map(({ type }) => type))
    // What waits may become an event together with these.
    for (const { sender, type } of staging.waiting.values()) {
      users.add(sender)
      types.add(type)
    }
    const allRights = yield* this.#rightsOf(room, [...users])
    for (const user of users) {
      const each = allRights.get(user)!
      if (each.isJoined) rights.set(user, each)
    }
    const numbers: Interned = yield* wait(parts.interner.intern({ types, users }))
    if (!staging.tip && this.#anchors.length === 0)
      this.#anchors = [...(yield* parts.events.byNids(room, staging.row.anchors)).values()]
    return new PieceBuilder({
      parts,
      room,
      staging,
      batch: this.#input.batch,
      nids: this.#nids,
      known,
      rights,
      numbers,
      anchors: this.#anchors,
      isLast,
    })
  }

  /** Sends a piece to the database; the next one is built meanwhile. */
  #write(piece: Piece): void {
    this.tally.failed.push(...piece.failed)
    this.degraded += piece.degraded
    const { row, tip, nextIndex } = this.#staging
    const { sql } = this.#lane.parts
    const { shard, epoch } = shardOfRoom(this.#lane.parts, this.#lane)
    const isEmpty = piece.part.events.length + piece.waiting.length + piece.settled.length === 0
    if (isEmpty) return
    const noted = new Map(piece.records.map((record) => [record.srcId, record]))
    const end = tip && { nid: tip.nid, nextIndex }
    // The state of all of it: who comes and goes is written by commits of the lane.
    const snapshotNid = this.#staging.snapshot.nid
    const also = (inner: Sql) => [
      ...(noted.size > 0 ? [records.add(inner, row, [...noted.values()])] : []),
      ...(piece.waiting.length > 0 ? [records.addWaiting(inner, row, piece.waiting)] : []),
      ...(piece.settled.length > 0 ? [records.dropWaiting(inner, row, piece.settled)] : []),
      ...(piece.dropped.length > 0 ? [records.drop(inner, row, piece.dropped)] : []),
      sessions.moveTip(inner, row, { nid: end?.nid ?? null, nextIndex }),
    ]
    this.#flying = this.#lane.parts.yielding.writes.run(() =>
      stage(sql, { shard, epoch }, { ...piece.part, chain: row.chain, snapshotNid }, also),
    )
    // It is waited for before anything builds on it.
    this.#flying.catch(() => {})
  }
}

export const least = (a: number | null, b: number | null) =>
  a === null ? b : b === null ? a : Math.min(a, b)
export const greatest = (a: number | null, b: number | null) =>
  a === null ? b : b === null ? a : Math.max(a, b)

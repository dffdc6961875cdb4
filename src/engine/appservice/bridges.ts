import { type Appservice, type Appservices, takesToDevice } from '#core/appservice.ts'
import { SHARDS } from '#core/shard.ts'
import { AppserviceFollower } from '#engine/appservice/follower.ts'
import { Follows } from '#engine/appservice/follows.ts'
import { type AskAppservice, HttpLink } from '#engine/appservice/http-link.ts'
import type { UserNews } from '#engine/appservice/judge.ts'
import type { Link } from '#engine/appservice/link.ts'
import { Passing } from '#engine/appservice/passing.ts'
import { PassingNews } from '#engine/appservice/passing-news.ts'
import { Questions } from '#engine/appservice/questions.ts'
import { AppserviceSender, type Receiver } from '#engine/appservice/sender.ts'
import { SocketLink } from '#engine/appservice/socket-link.ts'
import { type Standing, readStandings } from '#engine/appservice/standings.ts'
import { Supplies } from '#engine/appservice/supplies.ts'
import type { Presence } from '#engine/live/presence.ts'
import type { Typing, TypingRoom } from '#engine/live/typing.ts'
import type { Positions } from '#engine/read/positions.ts'
import type { Log } from '#src/log.ts'
import * as follow from '#store/appservice/follow.ts'
import * as known from '#store/appservice/known.ts'
import * as stuck from '#store/appservice/stuck.ts'
import * as supplies from '#store/appservice/supplies.ts'
import type { Pool } from '#store/db.ts'

export type BridgesOptions = {
  sql: Pool
  log: Pick<Log, 'warn' | 'info' | 'debug'>
  clock: () => number
  serverName: string
  positions: Pick<Positions, 'roomsAt' | 'usersAt'>
  ask: AskAppservice
  /** How long one transaction may take. */
  deadlineMs: number
  firstMs: number
  longestMs: number
  maxQueued: number
  keepMs: number
  collectMs?: number
}

type Live = { typing: Typing; presence: Presence | undefined }

/** What application services are sent and asked, put together. */
export class Bridges {
  readonly questions: Questions
  readonly #options: BridgesOptions
  readonly #receivers: readonly Receiver[]
  readonly #follows: Follows
  readonly #follower: AppserviceFollower
  readonly #sender: AppserviceSender
  readonly #passing = new Passing()
  readonly #supplies: Supplies
  readonly #addressed = new Map<number, Set<string>>()
  #news: PassingNews | undefined
  #following: Promise<void> | undefined
  #work: Promise<unknown> = Promise.resolve()
  /** Users and shards whose keys are to be looked at. */
  readonly #toLook = { users: new Set<string>(), shards: new Set<number>() }
  #stopped = false

  private constructor(
    appservices: Appservices,
    rows: readonly known.Known[],
    options: BridgesOptions,
  ) {
    const { sql, positions } = options
    this.#options = options
    const found = appservices.all.flatMap((appservice) => {
      const row = rows.find(({ id }) => id === appservice.id)
      return row ? [{ appservice, row }] : []
    })
    this.#receivers = found.map(({ appservice, row }, place) => ({
      nid: row.appservice_nid,
      appservice,
      link: this.#linkOf(appservice, place),
      failures: row.failures,
      retryAt: row.retry_at,
    }))
    this.#follows = new Follows(
      this.#receivers,
      found.flatMap(({ row }, place) => (row.follows ? [place] : [])),
    )
    this.#supplies = new Supplies(sql, this.#follows)
    this.#sender = new AppserviceSender(this.#receivers, {
      ...options,
      passing: this.#passing,
      supplies: this.#supplies,
      addressed: this.#addressed,
    })
    this.questions = new Questions(
      this.#receivers.map(({ appservice, link }, place) => ({
        appservice,
        link,
        isAway: () => this.#sender.isAway(place),
      })),
    )
    this.#follower = new AppserviceFollower(this.#follows, {
      ...options,
      roomsAt: (shard) => positions.roomsAt(shard),
      usersAt: (shard) => positions.usersAt(shard),
      onQueued: (events) => {
        for (const [place, count] of events) this.#sender.queued(place, count)
      },
      onUsers: (news, shards) => this.#usersChanged(news, shards),
    })
  }

  /** Goes on where the last run ended; who is new is sent what comes from now on. */
  static async start(appservices: Appservices, options: BridgesOptions): Promise<Bridges> {
    const rows = await known.note(
      options.sql,
      appservices.all.map(({ id, connects }) => ({
        id,
        follows: connects !== 'maybe',
      })),
      options.clock(),
    )
    const bridges = new Bridges(appservices, rows, options)
    if (bridges.#follows.active.size > 0) await bridges.#follow()
    else await follow.end(options.sql)
    await bridges.#sender.start()
    return bridges
  }

  /** From now on it is told what passes, too. */
  watch({ typing, presence }: Live): void {
    const { sql, log } = this.#options
    this.#news = new PassingNews({
      sql,
      follows: this.#follows,
      judge: this.#follower.judge,
      passing: this.#passing,
      typing,
      presence,
      isFailing: (place) => this.#sender.isFailing(place),
      onNews: (places) => {
        for (const place of places) this.#sender.wake(place)
      },
      onFault: (error) =>
        log.warn({ err: error }, 'application services were not told what passes'),
    })
  }

  /** Something was committed somewhere. */
  tell(): void {
    if (this.#following) this.#follower.tell()
  }

  typed(room: TypingRoom): void {
    this.#news?.typed(room)
  }

  presenceMoved(): void {
    this.#news?.moved()
  }

  /** It is there, by its own word: what it failed before counts no longer. */
  heardFrom(appservice: Appservice): void {
    const place = this.#placeOf(appservice)
    if (place !== undefined) this.#sender.reachable(place)
  }

  /** The way to an application service that may connect; undefined: to others we connect ourselves. */
  socketOf(
    appservice: Appservice,
  ): Pick<SocketLink, 'connected' | 'received' | 'closed'> | undefined {
    const place = this.#placeOf(appservice)
    const link = place === undefined ? undefined : this.#receivers[place]!.link
    return link instanceof SocketLink ? link : undefined
  }

  /** Of those who are to be sent anything. */
  get counts() {
    return this.#sender.counts.filter((_, place) => this.#follows.active.has(place))
  }

  /** How each of those registered fares, for administrators. */
  async standings(): Promise<Standing[]> {
    const { sql, clock } = this.#options
    return readStandings(sql, this.#receivers, this.#sender.counts, this.#follows.active, clock())
  }

  /** When the oldest event was queued that each has not got yet, of those who have any to get. */
  async oldest(): Promise<Map<string, number>> {
    const rows = await stuck.oldest(this.#options.sql)
    const ids = new Map(this.#receivers.map(({ nid, appservice: { id } }) => [nid, id]))
    return new Map(
      rows.flatMap(({ appservice_nid: nid, since }) => {
        const id = ids.get(nid)
        return id === undefined ? [] : [[id, since] as const]
      }),
    )
  }

  /** Sends one what waits for it at once; false: there is none such. */
  retry(id: string): boolean {
    const place = this.#receivers.findIndex(({ appservice }) => appservice.id === id)
    if (place >= 0) this.#sender.reachable(place)
    return place >= 0
  }

  /** Gives up on what one is sent in vain; see the sender. */
  async skip(id: string, txnId: string, eventIds?: readonly string[]): Promise<number | undefined> {
    const place = this.#receivers.findIndex(({ appservice }) => appservice.id === id)
    return place < 0 ? undefined : this.#sender.skip(place, txnId, eventIds)
  }

  /** Drops what has waited for too long; it happens by the hour. */
  sweep(): Promise<void> {
    return this.#sender.sweep()
  }

  /** Ends the connections of those who have connected, and lets nobody in any more. */
  hangUp(): void {
    for (const { link } of this.#receivers) link.stop()
  }

  /** Begins nothing more; what is in flight is repeated by the next run. */
  async stop(): Promise<void> {
    this.#stopped = true
    await this.#news?.stop()
    await this.#follower.stop()
    await this.#sender.stop()
    await this.#work
  }

  #linkOf(appservice: Appservice, place: number): Link {
    const { ask, clock, deadlineMs } = this.#options
    const { url, hsToken } = appservice
    if (url !== null) return new HttpLink(appservice, url, { ask, clock, deadlineMs })
    return new SocketLink({ hsToken, clock, deadlineMs, onConnect: () => this.#connected(place) })
  }

  #placeOf(appservice: Appservice): number | undefined {
    const place = this.#receivers.findIndex((each) => each.appservice === appservice)
    return place < 0 ? undefined : place
  }

  #follow(): Promise<void> {
    this.#following ??= this.#follower.start().then(() => {
      this.#inBackground(() => this.#findWaiting())
    })
    return this.#following
  }

  #connected(place: number): void {
    this.#inBackground(async () => {
      if (!this.#follows.active.has(place)) {
        await known.follow(this.#options.sql, this.#receivers[place]!.nid)
        this.#follows.activate(place)
        this.#follower.changed()
        await this.#follow()
      }
      this.#sender.reachable(place)
    })
  }

  /** What messages wait for devices from before, and what their keys are. */
  async #findWaiting(): Promise<void> {
    const { sql } = this.#options
    if (this.#follows.where(takesToDevice).length === 0) return
    for (let shard = 0; shard < SHARDS && !this.#stopped; shard++) {
      const byPlace = new Map<number, string[]>()
      for (const { user_id: id } of await supplies.addressedUsers(sql, shard))
        for (const place of this.#follows.ofUser(id))
          byPlace.set(place, [...(byPlace.get(place) ?? []), id])
      this.#addressedTo(byPlace)
    }
    await this.#supplies.start()
    await this.#look(Array.from({ length: SHARDS }, (_, shard) => shard))
  }

  #usersChanged({ addressed, changed }: UserNews, shards: readonly number[]): void {
    this.#addressedTo(addressed)
    const { users, shards: all } = this.#toLook
    for (const id of changed) users.add(id)
    const isUnderWay = all.size > 0
    for (const shard of shards) all.add(shard)
    if (isUnderWay) return
    this.#inBackground(async () => {
      const [ids, nids] = [[...users], [...all]]
      users.clear()
      all.clear()
      await this.#supplies.changed(ids)
      await this.#look(nids)
    })
  }

  #addressedTo(users: ReadonlyMap<number, readonly string[]>): void {
    for (const [place, ids] of users) {
      if (!takesToDevice(this.#receivers[place]!.appservice)) continue
      const waiting = this.#addressed.get(place) ?? new Set<string>()
      this.#addressed.set(place, waiting)
      for (const id of ids) waiting.add(id)
      this.#sender.wake(place)
    }
  }

  async #look(shards: readonly number[]): Promise<void> {
    for (const place of await this.#supplies.look(shards)) this.#sender.wake(place)
  }

  /** One after the other. */
  #inBackground(work: () => Promise<void>): void {
    this.#work = this.#work.then(async () => {
      if (this.#stopped) return
      await work().catch((error: unknown) => {
        if (!this.#stopped)
          this.#options.log.warn({ err: error }, 'application services were not told of devices')
      })
    })
  }
}

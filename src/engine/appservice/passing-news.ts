import { takesEphemeral } from '#core/appservice.ts'
import type { JsonObject } from '#core/json.ts'
import { shardOfNid } from '#core/shard.ts'
import type { Follows } from '#engine/appservice/follows.ts'
import type { Judge } from '#engine/appservice/judge.ts'
import type { Passing } from '#engine/appservice/passing.ts'
import type { Entry } from '#engine/live/presence-entry.ts'
import type { Presence } from '#engine/live/presence.ts'
import type { Typing, TypingRoom } from '#engine/live/typing.ts'
import * as follow from '#store/appservice/follow.ts'
import type { Sql } from '#store/db.ts'

export type PassingNewsOptions = {
  sql: Sql
  follows: Follows
  judge: Judge
  passing: Passing
  typing: Pick<Typing, 'find'>
  presence: Pick<Presence, 'log' | 'eventOf'> | undefined
  /** Whether one is to hear nothing just now. */
  isFailing: (place: number) => boolean
  onNews: (places: Iterable<number>) => void
  onFault: (error: unknown) => void
  collectMs?: number
}

/** What comes within this time is looked at together. */
const collectMs = 50
/** Rooms of one look; of more it is lost who types there. */
const maxRooms = 1_000
/** Users of one look; who more there are are looked at with the next. */
const maxUsers = 1_000

/**
 * Tells application services what passes: who types in rooms that interest them, and who is there of those
 * they share rooms with, and of their own users.
 *
 * Spec: application-service-api/#pushing-ephemeral-data
 */
export class PassingNews {
  readonly #options: PassingNewsOptions
  readonly #wanting: readonly number[]
  #rooms = new Map<number, TypingRoom>()
  #presenceAt: number
  #soon: ReturnType<typeof setTimeout> | undefined
  #looking: Promise<void> | undefined
  #stopped = false

  constructor(options: PassingNewsOptions) {
    this.#options = options
    this.#wanting = options.follows.where(takesEphemeral)
    this.#presenceAt = options.presence?.log.at ?? 0
  }

  /** The list of those who type in a room changed. */
  typed(room: TypingRoom): void {
    if (this.#wanting.length === 0 || this.#rooms.size >= maxRooms) return
    this.#rooms.set(room.roomNid, room)
    this.#lookSoon()
  }

  /** Somebody is there, or has gone. */
  moved(): void {
    if (this.#wanting.length > 0) this.#lookSoon()
  }

  async stop(): Promise<void> {
    this.#stopped = true
    clearTimeout(this.#soon)
    await this.#looking
  }

  #lookSoon(): void {
    if (this.#stopped || this.#soon || this.#looking) return
    this.#soon = setTimeout(() => {
      this.#soon = undefined
      this.#looking = this.#look()
        .catch((error: unknown) => this.#options.onFault(error))
        .finally(() => {
          this.#looking = undefined
          if (this.#rooms.size > 0 || this.#hasPresence()) this.#lookSoon()
        })
    }, this.#options.collectMs ?? collectMs)
    this.#soon.unref()
  }

  #hasPresence(): boolean {
    return (this.#options.presence?.log.at ?? 0) > this.#presenceAt
  }

  async #look(): Promise<void> {
    const told = new Set<number>()
    const wanting = new Set(this.#wanting.filter((place) => !this.#options.isFailing(place)))
    await this.#lookAtTyping(wanting, told)
    await this.#lookAtPresence(wanting, told)
    if (told.size > 0) this.#options.onNews(told)
  }

  async #lookAtTyping(wanting: ReadonlySet<number>, told: Set<number>): Promise<void> {
    const rooms = [...this.#rooms.values()]
    this.#rooms = new Map()
    if (rooms.length === 0 || wanting.size === 0) return
    const { judge, typing } = this.#options
    const asked = rooms.map(({ shard, roomNid, roomId }) => ({
      shard,
      room_nid: roomNid,
      room_id: roomId,
    }))
    const interested = await judge.interested(asked)
    for (const room of asked) {
      const content = { user_ids: typing.find(room.room_nid)?.userIds ?? [] }
      const event = { type: 'm.typing', room_id: room.room_id, content }
      this.#put(interested(room), wanting, told, `m.typing ${room.room_id}`, event)
    }
  }

  async #lookAtPresence(wanting: ReadonlySet<number>, told: Set<number>): Promise<void> {
    const { sql, judge, presence, follows } = this.#options
    if (!presence || !this.#hasPresence()) return
    const entries: Entry[] = []
    let at = this.#presenceAt
    for (const entry of presence.log.changedAfter(at)) {
      entries.push(entry)
      at = entry.at
      if (entries.length === maxUsers) break
    }
    this.#presenceAt = entries.length === maxUsers ? at : presence.log.at
    if (wanting.size === 0) return
    const nids = [...new Set(entries.flatMap(({ rooms }) => [...(rooms ?? [])]))]
    const ids = follows.knowsRooms ? await follow.roomIds(sql, nids.map(shardOfNid), nids) : []
    const names = new Map(ids.map((row) => [row.room_nid, row.room_id]))
    const roomOf = (nid: number) => ({
      shard: shardOfNid(nid),
      room_nid: nid,
      room_id: names.get(nid) ?? '',
    })
    const interested = await judge.interested(nids.map(roomOf))
    for (const entry of entries) {
      const places = new Set(follows.ofUser(entry.userId))
      for (const nid of entry.rooms ?? [])
        for (const place of interested(roomOf(nid))) places.add(place)
      const event = presence.eventOf(entry)
      this.#put([...places], wanting, told, `m.presence ${entry.userId}`, event)
    }
  }

  #put(
    places: readonly number[],
    wanting: ReadonlySet<number>,
    told: Set<number>,
    key: string,
    event: JsonObject,
  ): void {
    for (const place of places) {
      if (!wanting.has(place)) continue
      this.#options.passing.put(place, key, event)
      told.add(place)
    }
  }
}

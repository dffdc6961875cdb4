import { takesEphemeral, takesToDevice } from '#core/appservice.ts'
import { domainOf } from '#core/ids.ts'
import type { Follows, Places } from '#engine/appservice/follows.ts'
import type { Rolling, RoomGuests } from '#engine/appservice/room-guests.ts'
import * as follow from '#store/appservice/follow.ts'
import type { Entry, NewReceipt } from '#store/appservice/queue.ts'
import type { Sql } from '#store/db.ts'
import * as readState from '#store/room/read-state.ts'
import type { Stretch } from '#store/two-cursors.ts'

export type RoomNews = {
  events: Entry[]
  lists: follow.ListNews[]
  listsOf: follow.ListsOfRoom[]
  end: () => void
}
export type UserNews = {
  receipts: NewReceipt[]
  lists: follow.ListNews[]
  /** Users whose devices changed, as far as somebody asks. */
  changed: readonly string[]
  /** Users of application services for whose devices messages came, by place. */
  addressed: ReadonlyMap<number, readonly string[]>
}

/**
 * Finds out what interests whom: events of rooms, receipts, lists of devices. A few statements for a batch of
 * all rooms and users.
 *
 * Spec: application-service-api/#registration
 */
export class Judge {
  readonly #sql: Sql
  readonly #serverName: string
  readonly #follows: Follows
  readonly #guests: RoomGuests
  readonly #ephemeral: ReadonlySet<number>
  readonly #encrypting: ReadonlySet<number>
  readonly #takesToDevice: boolean

  constructor(sql: Sql, serverName: string, follows: Follows, guests: RoomGuests) {
    this.#sql = sql
    this.#serverName = serverName
    this.#follows = follows
    this.#guests = guests
    this.#ephemeral = new Set(follows.where(takesEphemeral))
    this.#takesToDevice = follows.where(takesToDevice).length > 0
    this.#encrypting = new Set(follows.where(({ pushEncryption }) => pushEncryption))
  }

  async rooms(stretches: readonly Stretch[]): Promise<RoomNews> {
    const rows = await follow.fresh(this.#sql, this.#serverName, stretches)
    const rooms = [...new Map(rows.map((row) => [row.room_nid, row])).values()]
    const lows = new Map(stretches.map(({ shard, from }) => [shard, from]))
    const highs = new Map(stretches.map(({ shard, to }) => [shard, to]))
    const [rolling, whole] = await Promise.all([
      this.#guests.roll(
        rooms,
        (shard) => lows.get(shard)!,
        (shard) => highs.get(shard)!,
      ),
      this.#ofRooms(rooms),
    ])
    const events: Entry[] = []
    const moved = new Map<string, Set<number>>()
    const queued = new Set<number>()
    for (const row of rows) {
      if (queued.has(row.event_nid)) continue
      queued.add(row.event_nid)
      const guests = rolling.at(row.room_nid, row.position)
      const target = row.target === null ? [] : this.#follows.ofUser(row.target)
      const sender =
        domainOf(row.sender) === this.#serverName ? this.#follows.ofUser(row.sender) : []
      const places = union(guests, target, sender, whole.get(row.room_id) ?? [])
      for (const place of places) {
        const { nid } = this.#follows.all[place]!
        events.push({ appserviceNid: nid, shard: row.shard, eventNid: row.event_nid })
        if (row.target === null || !this.#encrypting.has(place)) continue
        moved.set(row.target, (moved.get(row.target) ?? new Set()).add(place))
      }
    }
    const [lists, listsOf] = await Promise.all([
      this.#whoMoved(moved),
      this.#newlyEncrypted(rows, rolling, (shard) => highs.get(shard)!),
    ])
    return { events, lists, listsOf, end: rolling.end }
  }

  async users(stretches: readonly Stretch[]): Promise<UserNews> {
    const sql = this.#sql
    const [read, lists, addressed] = await Promise.all([
      this.#ephemeral.size > 0 ? follow.receipts(sql, stretches) : [],
      this.#encrypting.size > 0 ? follow.changedLists(sql, stretches) : [],
      this.#takesToDevice ? follow.addressed(sql, stretches) : [],
    ])
    const changed = lists.map(({ user_id: id }) => id)
    const byPlace = new Map<number, string[]>()
    for (const { user_id: id } of addressed)
      for (const place of this.#follows.ofUser(id)) {
        const users = byPlace.get(place)
        if (users) users.push(id)
        else byPlace.set(place, [id])
      }
    return {
      receipts: await this.#receipts(read),
      lists: await this.#lists(changed),
      changed,
      addressed: byPlace,
    }
  }

  /** Whom some rooms interest by now. */
  async interested(
    rooms: readonly { shard: number; room_nid: number; room_id: string }[],
  ): Promise<(room: { room_nid: number; room_id: string }) => Places> {
    const [guests, whole] = await Promise.all([this.#guests.now(rooms), this.#ofRooms(rooms)])
    return (room) => union(guests(room.room_nid), whole.get(room.room_id) ?? [])
  }

  /** Those with rooms of their own: by ID, or by the aliases that this server has for them. */
  async #ofRooms(rooms: readonly { room_id: string }[]): Promise<Map<string, Places>> {
    const places = new Map(rooms.map(({ room_id: id }) => [id, this.#follows.ofRoom(id)] as const))
    if (!this.#follows.hasAliases || rooms.length === 0) return places
    for (const { room_id: id, alias } of await follow.aliases(this.#sql, [...places.keys()]))
      places.set(id, union(places.get(id)!, this.#follows.ofAlias(alias)))
    return places
  }

  /** Spec: application-service-api/#pushing-ephemeral-data */
  async #receipts(rows: readonly follow.Receipt[]): Promise<NewReceipt[]> {
    const open = rows.filter(({ type }) => type === 'm.read')
    const rooms = new Map(
      open.map((row) => [row.room_nid, { ...row, shard: row.room_shard }] as const),
    )
    const interested = await this.interested([...rooms.values()])
    return rows.flatMap((row) => {
      const places = row.type === 'm.read' ? interested(row) : this.#follows.ofUser(row.user_id)
      return places
        .filter((place) => this.#ephemeral.has(place))
        .map((place) => ({
          appserviceNid: this.#follows.all[place]!.nid,
          shard: row.shard,
          room_id: row.room_id,
          user_id: row.user_id,
          type: row.type,
          thread_id: row.thread_id,
          mark: row.position,
        }))
    })
  }

  /** Those who are in a room with users whose devices changed, or whose the users are. MSC3202 */
  async #lists(userIds: readonly string[]): Promise<follow.ListNews[]> {
    if (userIds.length === 0) return []
    const sharing = await this.#sharing(userIds)
    return userIds.flatMap((userId) => {
      const own = this.#follows.ofUser(userId)
      return union(own, sharing.get(userId) ?? [])
        .filter((place) => this.#encrypting.has(place))
        .map((place) => ({ appserviceNid: this.#follows.all[place]!.nid, userId, left: false }))
    })
  }

  /** Encrypted rooms into which the first user of some came; and those that are encrypted from now on. MSC3202 */
  async #newlyEncrypted(
    rows: readonly follow.Fresh[],
    rolling: Rolling,
    highOf: (shard: number) => number,
  ): Promise<follow.ListsOfRoom[]> {
    if (this.#encrypting.size === 0) return []
    const turned = rows
      .filter(({ encrypts }) => encrypts)
      .map((row) => ({ ...row, places: rolling.at(row.room_nid, highOf(row.shard)) }))
    const came = rolling.came().map(({ shard, room_nid: roomNid, places }) => ({
      shard,
      roomNid,
      places: places.filter((place) => this.#encrypting.has(place)),
    }))
    const asked = came.filter(({ places }) => places.length > 0)
    const keys = asked.map(({ shard, roomNid }) => ({
      shard,
      roomNid,
      at: highOf(shard),
      type: 'm.room.encryption',
      stateKey: '',
    }))
    const state = keys.length > 0 ? await readState.keysAt(this.#sql, keys) : []
    const encrypted = new Set(state.map((row) => row.room_nid))
    const rooms = [
      ...turned.map(({ shard, room_nid: roomNid, places }) => ({ shard, roomNid, places })),
      ...asked.filter(({ roomNid }) => encrypted.has(roomNid)),
    ]
    return rooms.flatMap(({ shard, roomNid, places }) =>
      places
        .filter((place) => this.#encrypting.has(place))
        .map((place) => ({
          appserviceNid: this.#follows.all[place]!.nid,
          shard,
          room_nid: roomNid,
        })),
    )
  }

  /** Whose members came into a room with users of application services, or share none with them any more. */
  async #whoMoved(moved: ReadonlyMap<string, ReadonlySet<number>>): Promise<follow.ListNews[]> {
    if (moved.size === 0) return []
    const sharing = await this.#sharing([...moved.keys()])
    return [...moved].flatMap(([userId, places]) =>
      [...places].map((place) => {
        const shares =
          (sharing.get(userId) ?? []).includes(place) ||
          this.#follows.ofUser(userId).includes(place)
        return { appserviceNid: this.#follows.all[place]!.nid, userId, left: !shares }
      }),
    )
  }

  /** Those who have users in the rooms of some users. */
  async #sharing(userIds: readonly string[]): Promise<Map<string, Places>> {
    const rows = await follow.roomsOf(this.#sql, userIds)
    const rooms = [...new Map(rows.map((row) => [row.room_nid, row])).values()]
    const guests = await this.#guests.now(rooms)
    const sharing = new Map<string, Places>()
    for (const { user_id: id, room_nid: nid } of rows)
      sharing.set(id, union(sharing.get(id) ?? [], guests(nid)))
    return sharing
  }
}

function union(...lists: readonly Places[]): Places {
  const filled = lists.filter((list) => list.length > 0)
  return filled.length < 2 ? (filled[0] ?? []) : [...new Set(filled.flat())]
}

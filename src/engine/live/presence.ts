import type { Edu } from '#core/event/edu.ts'
import type { JsonObject } from '#core/json.ts'
import type { Sql } from '#store/db.ts'
import * as stored from '#store/user/presence.ts'
import {
  type Device,
  type Entry,
  type PresenceState,
  contentOf,
  isSame,
  newEntry,
  showOf,
} from './presence-entry.ts'
import { type LogLimits, PresenceLog } from './presence-log.ts'
import { before, note, recall } from './presence-notes.ts'
import { Pace } from './presence-pace.ts'

export type PresenceOptions = {
  sql: Sql
  serverName: string
  clock: () => number
  /** Tells one life of the server from the next. */
  epoch: number
  /** Something is to be told in these rooms; answers how many clients were woken for it. */
  onChange: (roomNids: Iterable<number>) => number
  /** Other servers are to be told of users of ours. */
  onOwn: (entries: readonly Entry[]) => Promise<void>
  onFault: (error: unknown) => void
  limits?: Partial<LogLimits>
}

/** Not spec: a device that asks for nothing is gone after so long. */
const goneMs = 60_000
/** Another server's word counts for so long, and ours is repeated as often as others expect it. */
const heardMs = 30 * 60_000
const retellMs = 25 * 60_000
/** Rooms of another server's user are read again with news that come so long afterwards. */
const roomsMs = 60_000
const sweepEveryMs = 5_000
/** Users of whom news is taken together. */
const maxAtOnce = 500
/** Users of other servers of whom news waits; of more it is lost. */
const maxWaiting = 10_000
/** Updates of one EDU, and of one transaction. */
const maxUpdates = 500
const maxOfAll = 5_000
/** Characters of another server's status message. */
export const maxStatus = 1_024

/**
 * Who is there. It lives in memory; what was last told of each user, and the status message, are noted
 * now and then, so that a restart makes nobody stay online for ever.
 *
 * News is collected: however many users come and go, clients are woken for it a few times a second at
 * most, the more of them wait the less often.
 *
 * Spec: client-server-api/#presence
 */
export class Presence {
  readonly epoch: number
  readonly log: PresenceLog
  readonly #options: PresenceOptions
  readonly #pace: Pace
  /** Of whom there may be something to tell, by ID. */
  readonly #waiting = new Map<string, Entry>()
  /** Of whom other servers are to be told, changed or not. */
  readonly #retold = new Set<Entry>()
  readonly #restored = new Set<Entry>()
  readonly #unsaved = new Set<string>()
  #saving: Promise<void> | undefined
  #timer: ReturnType<typeof setInterval> | undefined

  constructor(options: PresenceOptions) {
    this.#options = options
    this.epoch = options.epoch
    this.log = new PresenceLog({ users: 50_000, rooms: 1_000_000, ...options.limits })
    this.#pace = new Pace(() => this.#takeNews(), options.onFault)
  }

  /** Takes up what was noted in the life before, and keeps time from now on. */
  async start(): Promise<void> {
    const { sql, serverName, clock } = this.#options
    for (const entry of await recall(sql, serverName, clock(), maxWaiting)) {
      this.#restored.add(entry)
      if (entry.isOwn) this.log.add(entry)
      this.#mark(entry)
    }
    this.#timer = setInterval(() => this.sweep(), sweepEveryMs)
    this.#timer.unref()
  }

  /**
   * A device of a user of ours asks for news, and wishes to be shown so. Whoever says nothing is online
   * unless they had said otherwise. What is answered is called when it asks no longer.
   */
  begin(userId: string, deviceId: string, wish: PresenceState | undefined): () => void {
    if (wish === 'offline') {
      this.#leave(userId, deviceId)
      return () => {}
    }
    const device = this.#arrive(userId, deviceId, wish)
    device.syncs++
    return () => {
      device.syncs--
      device.seenAt = this.#options.clock()
    }
  }

  /** A device says how its user is to be shown. */
  put(userId: string, deviceId: string, state: PresenceState, statusMsg: string | undefined): void {
    const entry = this.#own(userId)
    entry.statusMsg = statusMsg
    entry.knowsStatus = true
    if (state === 'offline') entry.devices.delete(deviceId)
    else this.#arrive(userId, deviceId, state)
    if (state === 'online') entry.activeAt = this.#options.clock()
    this.#consider(entry)
  }

  /** A device that shows its user does something. Spec: client-server-api/#idle-timeout */
  active(userId: string, deviceId: string | undefined): void {
    const entry = this.#find(userId)
    const device = entry?.devices.get(deviceId ?? '')
    if (!entry || !device) return
    device.state = 'online'
    entry.activeAt = device.seenAt = this.#options.clock()
    this.#consider(entry)
  }

  /** A user of ours is no more. */
  forget(userId: string): void {
    const entry = this.#own(userId)
    entry.devices.clear()
    entry.activeAt = 0
    entry.statusMsg = undefined
    entry.knowsStatus = true
    this.#unsaved.add(userId)
    this.#consider(entry)
  }

  /** Takes what another server says of its users. Nobody waits for it, and what is too much is lost. */
  take(edus: readonly Edu[]): void {
    const updates = edus.flatMap((edu) =>
      edu.type === 'm.presence' ? edu.updates.slice(0, maxUpdates) : [],
    )
    const { clock, serverName } = this.#options
    const now = clock()
    for (const update of updates.slice(0, maxOfAll)) {
      const known = this.#find(update.userId)
      if (!known && this.#waiting.size >= maxWaiting) continue
      const entry = known ?? newEntry(update.userId, serverName)
      if (entry.isOwn) continue
      const { presence: state, currentlyActive } = update
      const statusMsg = update.statusMsg?.slice(0, maxStatus).toWellFormed() || undefined
      entry.said = { state, statusMsg, currentlyActive: currentlyActive && state === 'online' }
      entry.heardAt = now
      entry.activeAt = Math.max(now - update.lastActiveAgo, 0)
      // They may have joined a room since.
      if (now - entry.roomsAt >= roomsMs) this.#mark(entry)
      else this.#consider(entry)
    }
  }

  /** A user of ours joined or left a room; without a room, any of them. */
  moved(userId: string, roomNid?: number, isJoined = false): void {
    const entry = this.#find(userId)
    if (!entry) return
    entry.moves++
    if (roomNid === undefined || !entry.rooms) {
      entry.roomsAt = 0
      this.#mark(entry)
      return
    }
    if (entry.rooms.has(roomNid) === isJoined) return
    const rooms = new Set(entry.rooms)
    if (isJoined) rooms.add(roomNid)
    else rooms.delete(roomNid)
    this.log.setRooms(entry, rooms)
    if (!isJoined || entry.shown.state === 'offline') return
    // Those in the room hear of a new member and of their presence at once.
    this.log.changed(entry)
    this.#retold.add(entry)
    this.#mark(entry)
  }

  /** What is told of a user to who may know; undefined: nothing was ever heard of them. */
  async statusOf(userId: string): Promise<ReturnType<typeof contentOf> | undefined> {
    const { sql, serverName, clock } = this.#options
    const known = this.#find(userId)
    if (known && (known.isOwn ? known.knowsStatus : known.said))
      return contentOf(known, showOf(known, clock()), clock())
    const entry = known ?? newEntry(userId, serverName)
    if (!entry.isOwn) return undefined
    const [row] = await stored.list(sql, [userId])
    const statusMsg = row?.status_msg ?? undefined
    const activeAt = Math.max(row?.active_at ?? 0, entry.activeAt)
    return contentOf({ activeAt }, { ...showOf(entry, clock()), statusMsg }, clock())
  }

  /** The event that tells of a user. */
  eventOf(entry: Entry): { type: 'm.presence'; sender: string; content: JsonObject } {
    const content = contentOf(entry, entry.shown, this.#options.clock())
    return { type: 'm.presence', sender: entry.userId, content }
  }

  /** Sees who has gone or is idle by now, and notes what changed. */
  sweep(): void {
    const now = this.#options.clock()
    for (const entry of this.log.values()) {
      for (const [deviceId, { syncs, seenAt }] of entry.devices)
        if (syncs === 0 && now - seenAt >= goneMs) entry.devices.delete(deviceId)
      if (entry.said && entry.said.state !== 'offline' && now - entry.heardAt >= heardMs)
        entry.said = { ...entry.said, state: 'offline', currentlyActive: false }
      this.#consider(entry)
      if (!entry.isOwn || entry.shown.state === 'offline' || now - entry.toldAt < retellMs) continue
      this.#retold.add(entry)
      this.#mark(entry)
    }
    if (this.#unsaved.size > 0) void this.#save()
  }

  /** Resolves when what happened until now is told. */
  async settled(): Promise<void> {
    while (this.#waiting.size > 0 && (await this.#pace.now()));
  }

  async close(): Promise<void> {
    clearInterval(this.#timer)
    await this.#pace.stop()
    // What was not told any more is what they find who ask after the restart.
    for (const entry of this.#waiting.values()) {
      if (this.log.find(entry.userId) !== entry || (entry.isOwn && !entry.knowsStatus)) continue
      entry.shown = showOf(entry, this.#options.clock())
      this.#unsaved.add(entry.userId)
    }
    await this.#save()
  }

  #find(userId: string): Entry | undefined {
    return this.log.find(userId) ?? this.#waiting.get(userId)
  }

  #own(userId: string): Entry {
    const known = this.log.find(userId)
    if (known) return known
    const entry = newEntry(userId, this.#options.serverName)
    this.log.add(entry)
    return entry
  }

  #arrive(userId: string, deviceId: string, wish: 'online' | 'unavailable' | undefined): Device {
    const entry = this.#own(userId)
    const now = this.#options.clock()
    let device = entry.devices.get(deviceId)
    const isNew = !device || (wish !== undefined && wish !== device.state)
    device ??= { state: 'online', syncs: 0, seenAt: now }
    if (isNew) device.state = wish ?? 'online'
    if (isNew && device.state === 'online') entry.activeAt = now
    device.seenAt = now
    entry.devices.set(deviceId, device)
    entry.devices.delete(before)
    this.#consider(entry)
    return device
  }

  #leave(userId: string, deviceId: string): void {
    const entry = this.log.find(userId)
    if (entry?.devices.delete(deviceId)) this.#consider(entry)
  }

  #consider(entry: Entry): void {
    const shown = showOf(entry, this.#options.clock())
    const isActive = shown.currentlyActive === entry.shown.currentlyActive
    if (!isSame(shown, entry.shown) || !isActive) this.#mark(entry)
  }

  #mark(entry: Entry): void {
    this.#waiting.set(entry.userId, entry)
    this.#pace.soon()
  }

  /** Reads what must be known of some who wait, and tells of them. */
  async #takeNews(): Promise<number> {
    const entries = [...this.#waiting.values().take(maxAtOnce)]
    if (entries.length === 0) return 0
    await this.#read(entries)
    const rooms = new Set<number>()
    const told: Entry[] = []
    for (const entry of entries) {
      if (entry.roomsAt === 0 || (entry.isOwn && !entry.knowsStatus)) continue
      this.#waiting.delete(entry.userId)
      this.#show(entry, rooms, told)
    }
    const woken = rooms.size > 0 ? this.#options.onChange(rooms) : 0
    const now = this.#options.clock()
    for (const entry of told) entry.toldAt = now
    if (told.length > 0) await this.#options.onOwn(told).catch(this.#options.onFault)
    if (this.#waiting.size > 0) this.#pace.soon()
    return woken
  }

  async #read(entries: readonly Entry[]): Promise<void> {
    const { sql, clock } = this.#options
    const now = clock()
    const wanted = entries.filter(
      (entry) => entry.roomsAt === 0 || (!entry.isOwn && now - entry.roomsAt >= roomsMs),
    )
    const unknown = entries.filter((entry) => entry.isOwn && !entry.knowsStatus)
    const moves = wanted.map((entry) => entry.moves)
    const [rows, statuses] = await Promise.all([
      wanted.length ? stored.roomsOf(sql, wanted.map(idOf)) : [],
      unknown.length ? stored.list(sql, unknown.map(idOf)) : [],
    ])
    const rooms = new Map<string, Set<number>>()
    for (const { user_id, room_nid } of rows) {
      const known = rooms.get(user_id)
      if (known) known.add(room_nid)
      else rooms.set(user_id, new Set([room_nid]))
    }
    for (const [index, entry] of wanted.entries()) {
      // Whoever moved meanwhile is read again.
      if (entry.moves !== moves[index]) continue
      entry.roomsAt = now
      this.log.setRooms(entry, rooms.get(entry.userId) ?? new Set())
    }
    const texts = new Map(statuses.map((row) => [row.user_id, row.status_msg ?? undefined]))
    for (const entry of unknown) {
      if (!entry.knowsStatus) entry.statusMsg = texts.get(entry.userId)
      entry.knowsStatus = true
    }
  }

  /** Puts down what is to be told of a user, in which rooms, and whether to other servers. */
  #show(entry: Entry, rooms: Set<number>, told: Entry[]): void {
    // Nobody here is to know of users with whom nobody here shares a room.
    if (!entry.isOwn && entry.rooms?.size === 0) {
      this.log.remove(entry)
      this.#unsaved.add(entry.userId)
      return
    }
    if (this.log.find(entry.userId) !== entry) {
      // Whoever was forgotten while they waited begins anew.
      if (this.log.find(entry.userId)) return
      this.log.add(entry)
    }
    const shown = showOf(entry, this.#options.clock())
    const isNew = !isSame(shown, entry.shown)
    const isRestored = this.#restored.delete(entry)
    if (isNew || shown.currentlyActive !== entry.shown.currentlyActive) {
      entry.shown = shown
      this.log.changed(entry)
    }
    if (isNew) for (const roomNid of entry.rooms ?? []) rooms.add(roomNid)
    if (isNew && !isRestored) this.#unsaved.add(entry.userId)
    const isRetold = this.#retold.delete(entry)
    if (entry.isOwn && (isRetold || (isNew && !isRestored))) told.push(entry)
  }

  async #save(): Promise<void> {
    await this.#saving
    this.#saving = this.#saveNow().catch(this.#options.onFault)
    await this.#saving
  }

  async #saveNow(): Promise<void> {
    const userIds = [...this.#unsaved]
    this.#unsaved.clear()
    try {
      await note(this.#options.sql, this.log, userIds)
    } catch (error) {
      for (const userId of userIds) this.#unsaved.add(userId)
      throw error
    }
  }
}

const idOf = ({ userId }: Entry): string => userId

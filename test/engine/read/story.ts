import { pino } from 'pino'
import type { JsonObject } from '#core/json.ts'
import { EventFilter, type Filter, parseFilter } from '#core/filter.ts'
import { shardOf } from '#core/shard.ts'
import { Typing, type TypingRoom } from '#engine/live/typing.ts'
import { EventIndex } from '#engine/read/event-index.ts'
import { Positions } from '#engine/read/positions.ts'
import { StoredSnapshots } from '#engine/read/snapshots.ts'
import { findAccess } from '#engine/read/room.ts'
import { readPage } from '#engine/read/timeline.ts'
import { decodeToken } from '#engine/read/sync-token.ts'
import { SentMembers } from '#engine/sync/sent-members.ts'
import { UnreadCounts } from '#engine/sync/unread.ts'
import { UserFacts } from '#engine/sync/user-facts.ts'
import { type Syncing, sync } from '#engine/sync/v3.ts'
import type { Rooms } from '#engine/worker/protocol.ts'
import type { Pool } from '#store/db.ts'
import { emptyPart } from '#store/room/batch.ts'
import * as commits from '#store/room/commit.ts'
import { Interner } from '#store/room/intern.ts'
import { Owner } from '#test/store/room/fixtures.ts'
import { StoryRoom } from './story-room.ts'

export { StoryRoom }

let epochs = 0

/** Rooms whose events are simply committed, in the order told: what readers make of them is the test. */
export class Story implements Syncing {
  readonly sql: Pool
  readonly serverName = 'here.example'
  readonly clock = () => 1_700_000_100_000
  readonly positions: Positions
  readonly eventIndex: EventIndex
  readonly snapshots = new StoredSnapshots()
  readonly sentMembers = new SentMembers()
  readonly unread = new UnreadCounts()
  readonly facts = new UserFacts()
  readonly typing: Typing
  /** What other servers are told of who types. */
  readonly typingTold: [roomId: string, userId: string, typing: boolean][] = []
  /** Told of each room whose list of those who type changes. */
  onTyping: (room: TypingRoom) => void = () => {}
  /** Milliseconds that typing has gone on. */
  typingMs = 0
  /** What the rooms port is asked; tests replace what answers. */
  backfill: (missing: string[]) => Promise<number> = async () => 0
  readonly rooms: Rooms = {
    call: async (method: string, _roomId: string, missing: string[]) => {
      if (method !== 'backfill') throw new Error(`${method} is no part of this story`)
      return this.backfill(missing)
    },
  } as unknown as Rooms
  readonly owner: Owner
  readonly interner: Interner
  readonly #turns = new Map<number, Promise<unknown>>()
  #clock = 1_700_000_000_000

  private constructor(pool: Pool, owner: Owner) {
    this.sql = pool
    this.owner = owner
    this.interner = new Interner(pool)
    this.eventIndex = new EventIndex({ sql: pool, log: pino({ enabled: false }) })
    this.positions = new Positions(pool, {
      serverName: this.serverName,
      log: pino({ enabled: false }),
    })
    this.typing = new Typing({
      serverName: this.serverName,
      clock: () => 1_700_000_100_000 + this.typingMs,
      epoch: ++epochs,
      onChange: (roomNid, room) => {
        this.positions.nudge([roomNid], 'typing')
        this.onTyping(room)
      },
      onOwn: ({ roomId }, userId, typing) => this.typingTold.push([roomId, userId, typing]),
    })
  }

  static async begin(pool: Pool): Promise<Story> {
    const shards = Array.from({ length: 64 }, (_, shard) => shard)
    const story = new Story(pool, await Owner.of(pool, shards))
    await story.positions.start()
    return story
  }

  /** The same database as another process reads it, which knows nothing yet. */
  async restart(): Promise<Story> {
    const story = new Story(this.sql, this.owner)
    await story.positions.start()
    return story
  }

  now(): number {
    return (this.#clock += 1000)
  }

  /** A room in which its creator is joined. */
  async room(creator: string, options: RoomOptions = {}): Promise<StoryRoom> {
    const room = new StoryRoom(this, options)
    await room.state(creator, 'm.room.create', '', { room_version: room.version.id })
    await room.member(creator, 'join')
    await room.state(creator, 'm.room.power_levels', '', { users: { [creator]: 100 } })
    if (options.visibility !== undefined)
      await room.state(creator, 'm.room.history_visibility', '', {
        history_visibility: options.visibility,
      })
    return room
  }

  /** Writes what belongs to a user, as the owner of their shard does. */
  async accountData(userId: string, roomId: string, type: string, content: object): Promise<void> {
    const shard = shardOf(userId)
    const position = await this.sql.begin(async (sql) => {
      const [row] = await sql<{ position: number }[]>`
        update user_shards set position = position + 1 where shard = ${shard} returning position`
      await sql`
        insert into account_data (shard, user_id, room_id, type, content, position)
        values (${shard}, ${userId}, ${roomId}, ${type}, ${JSON.stringify(content)}, ${row!.position})
        on conflict (shard, user_id, room_id, type) do update
          set content = excluded.content, position = excluded.position`
      return row!.position
    })
    this.positions.advanceUsers([[shard, position]])
  }

  /** One commit of a shard at a time, as its owner keeps it. */
  inTurn<T>(shard: number, body: () => Promise<T>): Promise<T> {
    const turn = (this.#turns.get(shard) ?? Promise.resolve()).then(body)
    this.#turns.set(
      shard,
      turn.catch(() => {}),
    )
    return turn
  }

  /** A batch that does not commit: its positions are never seen. */
  async failCommit(room: StoryRoom): Promise<void> {
    await this.inTurn(room.shard, async () => {
      const batch = this.owner.batch(emptyPart(room.shard, room.roomNid))
      batch.shards = batch.shards.map((advance) => ({ ...advance, epoch: -1 }))
      const failed = await commits.commit(this.sql, batch).then(
        () => false,
        () => true,
      )
      if (!failed) throw new Error('The batch was committed')
    })
  }

  async forget(userId: string, roomId: string, memberEvent: string): Promise<void> {
    const shard = shardOf(userId)
    const position = await this.sql.begin(async (sql) => {
      const [row] = await sql<{ position: number }[]>`
        update user_shards set position = position + 1 where shard = ${shard} returning position`
      await sql`
        insert into forgotten_rooms (shard, user_id, room_id, member_event, position)
        values (${shard}, ${userId}, ${roomId}, ${memberEvent}, ${row!.position})`
      return row!.position
    })
    this.positions.advanceUsers([[shard, position]])
  }

  /** One /sync; what it waits for may come from elsewhere. */
  async sync(userId: string, options: SyncOptions = {}): Promise<SyncAnswer> {
    const { since, timeoutMs = 0, signal = new AbortController().signal } = options
    const answer = await sync(
      this,
      {
        userId,
        deviceId: options.deviceId ?? 'DEVICE',
        since: since === undefined ? undefined : decodeToken(since),
        filter: filterOf(options.filter),
        fullState: options.fullState ?? false,
        stateAfter: options.stateAfter ? 'state_after' : undefined,
      },
      signal,
      timeoutMs,
    )
    return JSON.parse(JSON.stringify(answer)) as SyncAnswer
  }

  /** One page of /messages, as texts of bodies. */
  async messages(userId: string, room: StoryRoom, options: PageOptions = {}) {
    await this.positions.settled()
    const access = await findAccess(this.sql, room.roomId, userId)
    const page = await readPage(this, access!, {
      userId,
      direction: options.dir ?? 'b',
      from: options.from,
      to: options.to,
      limit: options.limit ?? 10,
      filter: new EventFilter(options.filter ?? {}),
    })
    return { ...page, ids: page.events.map(({ event }) => event.eventId) }
  }
}

export type RoomOptions = { version?: string; visibility?: string; roomId?: string }
export type SyncOptions = {
  since?: string | undefined
  deviceId?: string
  filter?: object
  fullState?: boolean
  stateAfter?: boolean
  timeoutMs?: number
  signal?: AbortSignal
}
export type PageOptions = {
  dir?: 'b' | 'f'
  from?: string | undefined
  to?: string | undefined
  limit?: number
  filter?: JsonObject
}

export type ClientEvent = {
  event_id: string
  type: string
  sender: string
  state_key?: string
  content: Record<string, unknown>
  redacts?: string
  unsigned: Record<string, unknown>
}
type Events = { events: ClientEvent[] }
export type JoinedRoom = {
  summary: Record<string, unknown>
  state?: Events
  state_after?: Events
  timeline: Events & { limited: boolean; prev_batch: string }
  account_data: { events: { type: string; content: object }[] }
  unread_notifications: { highlight_count: number; notification_count: number }
  unread_thread_notifications?: Record<
    string,
    { highlight_count: number; notification_count: number }
  >
}
export type SyncAnswer = {
  next_batch: string
  rooms?: {
    join?: Record<string, JoinedRoom>
    leave?: Record<string, JoinedRoom>
    invite?: Record<string, { invite_state: Events }>
    knock?: Record<string, { knock_state: Events }>
  }
  account_data?: { events: { type: string; content: object }[] }
  to_device?: { events: { type: string; sender: string; content: object }[] }
  device_lists?: { changed: string[]; left: string[] }
  device_one_time_keys_count: Record<string, number>
  device_unused_fallback_key_types: string[]
}

function filterOf(json: object = {}): Filter {
  const filter = parseFilter(json)
  if (typeof filter === 'string') throw new Error(filter)
  return filter
}

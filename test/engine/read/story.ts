import { pino } from 'pino'
import type { JsonObject } from '#core/json.ts'
import { EventFilter, type Filter, parseFilter } from '#core/filter.ts'
import { eventIdOf } from '#core/event/hash.ts'
import { roomVersions } from '#core/room-version.ts'
import { shardOf } from '#core/shard.ts'
import { Positions } from '#engine/read/positions.ts'
import { StoredSnapshots } from '#engine/read/snapshots.ts'
import { findAccess } from '#engine/read/room.ts'
import { readPage } from '#engine/read/timeline.ts'
import { decodeToken } from '#engine/read/sync-token.ts'
import { SentMembers } from '#engine/sync/sent-members.ts'
import { type Syncing, sync } from '#engine/sync/v3.ts'
import type { Rooms } from '#engine/worker/protocol.ts'
import type { Pool } from '#store/db.ts'
import { type Membership, type RoomPart, emptyPart, eventFlags } from '#store/room/batch.ts'
import * as commits from '#store/room/commit.ts'
import { packEventId } from '#store/room/event-id.ts'
import { Interner } from '#store/room/intern.ts'
import { type Snapshot, make, makeWhole } from '#store/room/snapshots.ts'
import { StateMap } from '#store/room/state-map.ts'
import { Owner } from '#test/store/room/fixtures.ts'

/** Rooms whose events are simply committed, in the order told: what readers make of them is the test. */
export class Story implements Syncing {
  readonly sql: Pool
  readonly serverName = 'here.example'
  readonly clock = () => 1_700_000_100_000
  readonly positions: Positions
  readonly snapshots = new StoredSnapshots()
  readonly sentMembers = new SentMembers()
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
    this.positions = new Positions(pool, {
      serverName: this.serverName,
      log: pino({ enabled: false }),
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
        useStateAfter: options.stateAfter ?? false,
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
}

function filterOf(json: object = {}): Filter {
  const filter = parseFilter(json)
  if (typeof filter === 'string') throw new Error(filter)
  return filter
}

export type Told = {
  eventId: string
  nid: number
  position: number | null
  chain: number | null
  index: number | null
}

type Telling = {
  stateKey?: string
  /** Becomes state, but stands in no timeline. */
  softFailed?: boolean
  /** State of another server: it has no place, and becomes no state by itself. */
  outlier?: boolean
  /** Stands in history: a chain and an index, and no position. */
  history?: { chain: number; index: number }
  /** Changes no state though it is a state event. */
  withoutEffect?: boolean
  internal?: object
  redacts?: string
}

/** One room of a story. */
export class StoryRoom {
  readonly roomId: string
  readonly version
  readonly shard: number
  readonly roomNid: number
  chain: number
  index = 0
  readonly #story: Story
  #created = false
  #depth = 0
  #state = new Map<number, { nid: number; content: JsonObject }>()
  #snapshot: Snapshot | undefined

  constructor(story: Story, { version = '11', roomId }: RoomOptions) {
    this.#story = story
    this.roomId = roomId ?? `!${crypto.randomUUID()}:${story.serverName}`
    this.version = roomVersions.get(version)!
    this.shard = shardOf(this.roomId)
    const shard = story.owner.shard(this.shard)
    this.roomNid = shard.nextNid()
    this.chain = shard.nextNid()
  }

  send(sender: string, body: string, more: Telling = {}): Promise<Told> {
    return this.tell(sender, 'm.room.message', { msgtype: 'm.text', body }, more)
  }

  state(sender: string, type: string, stateKey: string, content: JsonObject, more: Telling = {}) {
    return this.tell(sender, type, content, { ...more, stateKey })
  }

  member(
    user: string,
    membership: Membership,
    more: Telling & { by?: string; content?: JsonObject } = {},
  ) {
    const { by = user, content = {}, ...telling } = more
    return this.state(by, 'm.room.member', user, { ...content, membership }, telling)
  }

  /** Commits one event, and tells the reader of positions. */
  tell(sender: string, type: string, content: JsonObject, more: Telling = {}): Promise<Told> {
    return this.#story.inTurn(this.shard, async () => {
      const part = this.part()
      const told = await this.add(part, sender, type, content, more)
      await this.commit(part)
      return told
    })
  }

  part(): RoomPart {
    const part = emptyPart(this.shard, this.roomNid)
    if (this.#created) return part
    this.#created = true
    part.created = { roomId: this.roomId, version: this.version.id, kind: 'joined', partial: false }
    part.spans.push({
      orderKey: Buffer.from([0x80]),
      chain: this.chain,
      from: null,
      to: null,
      gap: null,
      hidden: false,
    })
    return part
  }

  async commit(part: RoomPart): Promise<void> {
    await this.#story.owner.commit(part)
    const { position } = this.#story.owner.shard(this.shard)
    this.#story.positions.advanceRooms([[this.shard, position]])
  }

  async add(
    part: RoomPart,
    sender: string,
    type: string,
    content: JsonObject,
    more: Telling,
  ): Promise<Told> {
    const { owner, interner } = this.#story
    const { stateKey, softFailed = false, outlier = false, history } = more
    const isMember = type === 'm.room.member' && stateKey !== undefined
    const nids = await interner.intern({
      types: [type],
      users: isMember ? [sender, stateKey] : [sender],
      stateKeys: stateKey === undefined ? [] : [[type, stateKey]],
    })
    const pdu: JsonObject = {
      type,
      sender,
      room_id: this.roomId,
      content,
      depth: ++this.#depth,
      origin_server_ts: this.#story.now(),
      hashes: { sha256: 'x' },
      signatures: {},
      auth_events: [],
      prev_events: [],
      ...(stateKey !== undefined && { state_key: stateKey }),
    }
    const eventId = eventIdOf(this.version, pdu)!
    const live = !softFailed && !history && !outlier
    const chain = history ? history.chain : live ? this.chain : null
    const index = history ? history.index : live ? this.index++ : null
    const shard = owner.shard(this.shard)
    const position = history ? null : shard.nextPosition()
    if (!this.#snapshot) {
      const made = makeWhole(shard.nextNid(), this.roomNid, StateMap.empty)
      part.snapshots.push(made.row)
      this.#snapshot = made.snapshot
    }
    const before = this.#snapshot
    const keyNid = stateKey === undefined ? null : nids.stateKey(type, stateKey)
    const event = owner.event(part, {
      eventId: packEventId(eventId),
      typeNid: nids.type(type),
      stateKeyNid: keyNid,
      senderNid: nids.user(sender),
      depth: this.#depth,
      chain,
      chainIndex: index,
      position: live ? position : null,
      flags: softFailed ? eventFlags.softFailed : outlier ? eventFlags.outlier : 0,
      snapshotNid: before.nid,
      json: JSON.stringify(pdu),
      internal: more.internal ? JSON.stringify(more.internal) : null,
    })
    if (keyNid !== null && !history && !more.withoutEffect) {
      const old = this.#state.get(keyNid)
      part.state.push({
        position: position!,
        typeNid: nids.type(type),
        stateKeyNid: keyNid,
        oldEventNid: old?.nid ?? null,
        newEventNid: event.eventNid,
        member: isMember
          ? {
              userNid: nids.user(stateKey),
              serverNid: nids.server(stateKey.slice(stateKey.indexOf(':') + 1)),
              senderNid: nids.user(sender),
              old: (old?.content['membership'] as Membership | undefined) ?? null,
              new: content['membership'] as Membership,
            }
          : null,
      })
      this.#state.set(keyNid, { nid: event.eventNid, content })
      const next = before.state.with([[keyNid, event.eventNid]])
      const changes = new Map([[keyNid, event.eventNid]])
      const made = make(shard.nextNid(), before, changes, next)
      part.snapshots.push(made.row)
      this.#snapshot = made.snapshot
    }
    if (type === 'm.room.redaction' && more.redacts !== undefined)
      part.redactions.push({
        targetId: packEventId(more.redacts),
        redactionNid: event.eventNid,
        applied: true,
      })
    return { eventId, nid: event.eventNid, position, chain, index }
  }

  /**
   * A local user joins through another server: events that are no part of the timeline become a new
   * generation of the room's state, and the join opens a chain behind a gap.
   */
  async joinAfar(
    user: string,
    state: readonly (readonly [
      type: string,
      stateKey: string,
      sender: string,
      content: JsonObject,
    ])[],
  ): Promise<Told> {
    const { owner } = this.#story
    const part = this.part()
    this.#state.clear()
    const made = makeWhole(owner.shard(this.shard).nextNid(), this.roomNid, StateMap.empty)
    part.snapshots.push(made.row)
    this.#snapshot = made.snapshot
    for (const [type, stateKey, sender, content] of state)
      await this.add(part, sender, type, content, { stateKey, outlier: true })
    const chain = owner.shard(this.shard).nextNid()
    this.chain = chain
    this.index = 0
    part.spans.push({
      orderKey: Buffer.from([0xc0]),
      chain,
      from: null,
      to: null,
      gap: ['$afar'],
      hidden: false,
    })
    const join = await this.add(
      part,
      user,
      'm.room.member',
      { membership: 'join' },
      {
        stateKey: user,
      },
    )
    const members = part.state.flatMap(({ member }) => (member ? [member] : []))
    part.staged = {
      generation: 1,
      entries: part.state.map(({ typeNid, stateKeyNid, newEventNid, member }) => ({
        typeNid,
        stateKeyNid,
        eventNid: newEventNid!,
        member: member && {
          userNid: member.userNid,
          serverNid: member.serverNid,
          senderNid: member.senderNid,
          new: member.new!,
        },
      })),
    }
    part.state = []
    part.flip = {
      position: join.position!,
      from: 0,
      to: 1,
      joinedMembers: members.filter((member) => member.new === 'join').length,
      invitedMembers: 0,
    }
    await this.commit(part)
    return join
  }

  redact(sender: string, target: string): Promise<Told> {
    return this.tell(sender, 'm.room.redaction', { redacts: target }, { redacts: target })
  }
}

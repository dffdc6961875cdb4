import type { JsonObject } from '#core/json.ts'
import { eventIdOf } from '#core/event/hash.ts'
import { roomVersions } from '#core/room-version.ts'
import { shardOf } from '#core/shard.ts'
import { type Membership, type RoomPart, emptyPart, eventFlags } from '#store/room/batch.ts'
import { packEventId } from '#store/room/event-id.ts'
import { type Snapshot, make, makeWhole } from '#store/room/snapshots.ts'
import { openGap } from '#store/room/plan-spans.ts'
import { StateMap } from '#store/room/state-map.ts'
import type { RoomOptions, Story } from './story.ts'

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
  /** What its sender's clock said. */
  ts?: number
  /** What its push rules ask of it; who is mentioned by name. */
  pushFlags?: number
  mentions?: readonly string[]
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
    const originServerTs = more.ts ?? this.#story.now()
    const pdu: JsonObject = {
      type,
      sender,
      room_id: this.roomId,
      content,
      depth: ++this.#depth,
      origin_server_ts: originServerTs,
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
      originServerTs,
      chain,
      chainIndex: index,
      position: live ? position : null,
      pushFlags: live ? (more.pushFlags ?? 0) : 0,
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
    if (more.mentions) {
      const mentioned = await interner.intern({
        types: [],
        users: [...more.mentions],
        stateKeys: [],
      })
      for (const each of more.mentions)
        part.mentions.push({ position: position!, userNid: mentioned.user(each) })
    }
    if (type === 'm.room.redaction' && more.redacts !== undefined)
      part.redactions.push({
        targetId: packEventId(more.redacts),
        redactionNid: event.eventNid,
        applied: true,
      })
    return { eventId, nid: event.eventNid, position, chain, index }
  }

  /** A resolution puts a member event back to an earlier one, or takes it away: no event shows it. */
  async resolveMember(user: string, to?: { nid: number; membership: Membership }): Promise<void> {
    const { owner, interner } = this.#story
    await this.#story.inTurn(this.shard, async () => {
      const part = this.part()
      const nids = await interner.intern({
        types: ['m.room.member'],
        users: [user],
        stateKeys: [['m.room.member', user]],
      })
      const keyNid = nids.stateKey('m.room.member', user)
      const old = this.#state.get(keyNid)
      part.state.push({
        position: owner.shard(this.shard).nextPosition(),
        typeNid: nids.type('m.room.member'),
        stateKeyNid: keyNid,
        oldEventNid: old?.nid ?? null,
        newEventNid: to?.nid ?? null,
        member: {
          userNid: nids.user(user),
          serverNid: nids.server(user.slice(user.indexOf(':') + 1)),
          senderNid: nids.user(user),
          old: (old?.content['membership'] as Membership | undefined) ?? null,
          new: to?.membership ?? null,
        },
      })
      if (to) this.#state.set(keyNid, { nid: to.nid, content: { membership: to.membership } })
      else this.#state.delete(keyNid)
      await this.commit(part)
    })
  }

  /** What comes next lies behind a gap: the events between were not to be had. */
  async openGap(missing: string): Promise<void> {
    await this.#story.inTurn(this.shard, async () => {
      const part = this.part()
      this.chain = this.#story.owner.shard(this.shard).nextNid()
      this.index = 0
      part.spans.push({
        orderKey: Buffer.from([0xc0]),
        chain: this.chain,
        from: null,
        to: null,
        gap: [missing],
        hidden: false,
      })
      await this.commit(part)
    })
  }

  /** The same, as a live event leaves it that cites what is missing: the live chain goes on. */
  async cutGap(missing: string): Promise<void> {
    const [live] = await this.#story.sql<{ order_key: Buffer; from_index: number | null }[]>`
      select order_key, from_index from spans
      where shard = ${this.shard} and chain = ${this.chain} and to_index is null`
    await this.#story.inTurn(this.shard, async () => {
      const part = this.part()
      const { order_key: orderKey, from_index: from } = live!
      const span = { orderKey, chain: this.chain, from, to: null, gap: null, hidden: false }
      part.spans.push(...openGap(span, this.index, [missing]))
      await this.commit(part)
    })
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

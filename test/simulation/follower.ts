import type { Random } from '#test/core/random.ts'
import { type Actor, type ClientEvent, askSurely, enc, keyOf } from './actor.ts'

/** What a client has put together of one room since it was joined. */
export type Copy = {
  joined: boolean
  /** Oldest first, gaps filled. */
  timeline: string[]
  /** By key; of a member event also what it says. */
  state: Map<string, { eventId: string; membership: unknown }>
  /** State that the timeline itself has set last, with the token of the answer that did; without `state_after`. */
  setByTimeline: Map<string, string>
  /** Events that came as redacted. */
  redacted: Set<string>
  joinedMembers: number | undefined
}

export type FollowerOptions = {
  timeoutMs: number
  limit: number
  stateAfter: boolean
  /** The longest pause between two requests. */
  pauseMs: number
  lazy: boolean
}

/** A client that follows /sync all the time, and keeps nothing but what it is told. */
export class Follower {
  readonly actor: Actor
  readonly options: FollowerOptions
  readonly rooms = new Map<string, Copy>()
  readonly complaints: string[] = []
  readonly #random: Random
  #since: string | undefined
  #stopped = false
  #running: Promise<void> | undefined

  constructor(actor: Actor, options: FollowerOptions, random: Random) {
    this.actor = actor
    this.options = options
    this.#random = random
  }

  get name(): string {
    const { timeoutMs, limit, stateAfter, lazy } = this.options
    return `${this.actor.userId} (timeout ${timeoutMs}, limit ${limit}${stateAfter ? ', state_after' : ''}${lazy ? ', lazy' : ''})`
  }

  start(): void {
    this.#running = this.#run()
  }

  /** Stops, and takes in what there is until now. */
  async finish(): Promise<void> {
    this.#stopped = true
    await this.#running
    for (let quiet = 0, tries = 0; quiet < 2 && tries < 200; tries++)
      quiet = (await this.#step(0)) ? 0 : quiet + 1
  }

  async #run(): Promise<void> {
    while (!this.#stopped) {
      await this.#step(this.options.timeoutMs)
      if (this.options.pauseMs) await Bun.sleep(this.#random.below(this.options.pauseMs))
    }
  }

  /** One request; whether it told anything of a room. */
  async #step(timeoutMs: number): Promise<boolean> {
    const { limit, stateAfter, lazy } = this.options
    const filter = {
      room: { timeline: { limit }, ...(lazy && { state: { lazy_load_members: true } }) },
    }
    const path = `sync?timeout=${timeoutMs}&filter=${enc(JSON.stringify(filter))}${
      stateAfter ? '&use_state_after=true' : ''
    }${this.#since === undefined ? '' : `&since=${enc(this.#since)}`}`
    const { status, body } = await askSurely(this.actor, 'GET', path)
    if (status !== 200) throw new Error(`${this.name}: ${status} ${JSON.stringify(body)}`)
    const rooms = body.rooms ?? {}
    for (const [roomId, told] of Object.entries(rooms.join ?? {}))
      await this.#joined(roomId, told, body.next_batch)
    for (const section of [rooms.leave, rooms.invite, rooms.knock])
      for (const roomId of Object.keys(section ?? {})) {
        const copy = this.rooms.get(roomId)
        if (copy) copy.joined = false
      }
    this.#since = body.next_batch
    return ['join', 'leave', 'invite'].some((part) => Object.keys(rooms[part] ?? {}).length > 0)
  }

  async #joined(roomId: string, told: any, token: string): Promise<void> {
    let copy = this.rooms.get(roomId)
    const events: ClientEvent[] = told.timeline?.events ?? []
    const limited = told.timeline?.limited === true
    if (!copy?.joined) {
      copy = {
        joined: true,
        timeline: [],
        state: new Map(),
        setByTimeline: new Map(),
        redacted: new Set(),
        joinedMembers: undefined,
      }
      this.rooms.set(roomId, copy)
    } else if (limited) await this.#fill(roomId, copy, told.timeline.prev_batch)
    const known = new Set(copy.timeline)
    copy.joinedMembers = told.summary?.['m.joined_member_count'] ?? copy.joinedMembers
    for (const { event_id, unsigned } of events) {
      if (unsigned?.redacted_because) copy.redacted.add(event_id)
      if (known.has(event_id)) this.complaints.push(`${this.name}: ${event_id} came twice`)
      known.add(event_id)
      copy.timeline.push(event_id)
    }
    const after = told['state_after'] ?? told['org.matrix.msc4222.state_after']
    if (this.options.stateAfter) {
      if (!after && told.state?.events?.length)
        this.complaints.push(`${this.name}: state instead of state_after`)
      for (const event of (after?.events ?? []) as ClientEvent[]) put(copy, event)
      return
    }
    for (const event of (told.state?.events ?? []) as ClientEvent[]) {
      put(copy, event)
      copy.setByTimeline.delete(keyOf(event))
    }
    for (const event of events)
      if (event.state_key !== undefined) {
        put(copy, event)
        copy.setByTimeline.set(keyOf(event), token)
      }
  }

  /** Reads what lies between what is known and a limited timeline. */
  async #fill(roomId: string, copy: Copy, prevBatch: string | undefined): Promise<void> {
    if (prevBatch === undefined) {
      this.complaints.push(`${this.name}: limited without prev_batch in ${roomId}`)
      return
    }
    const known = new Set(copy.timeline)
    const between: string[] = []
    let from = prevBatch
    for (let page = 0; page < 500; page++) {
      const { status, body } = await askSurely(
        this.actor,
        'GET',
        `rooms/${enc(roomId)}/messages?dir=b&limit=20&from=${enc(from)}`,
      )
      // Who was thrown out meanwhile reads no more; the next answer says so.
      if (status === 403) return
      if (status !== 200) throw new Error(`${this.name}: ${status} ${JSON.stringify(body)}`)
      for (const { event_id, unsigned } of body.chunk as ClientEvent[]) {
        if (unsigned?.redacted_because) copy.redacted.add(event_id)
        if (known.has(event_id)) {
          copy.timeline.push(...between.reverse())
          return
        }
        between.push(event_id)
      }
      if (body.end === undefined) break
      from = body.end
    }
    this.complaints.push(`${this.name}: the gap in ${roomId} leads past what is known`)
  }
}

const put = (copy: Copy, event: ClientEvent) =>
  copy.state.set(keyOf(event), {
    eventId: event.event_id,
    membership: event.type === 'm.room.member' ? event.content['membership'] : undefined,
  })

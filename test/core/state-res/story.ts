import { selectAuthEvents } from '#core/event/auth-events.ts'
import type { JsonObject } from '#core/json.ts'
import type { RoomVersion } from '#core/room-version.ts'
import { placeOf, RoomGraph, type NamedState } from '#test/differential/graph.ts'
import { makeEvent, type Draft } from '#test/differential/make-event.ts'
import { creator, roomId } from '#test/core/auth/stage.ts'

export type Scene = Partial<Pick<Draft, 'depth' | 'ts' | 'content'>> & {
  type: string
  sender: string
  stateKey?: string
  /** The events that it follows: the one told last, unless the story forks here. */
  after?: readonly string[]
  /** Instead of what the state before it selects. */
  auth?: readonly string[]
  rejected?: boolean
}

/**
 * A room told event by event, each under a name. Every event counts as accepted: the stories are
 * about what resolution makes of them. Time and depth rise by one unless a scene says otherwise.
 */
export class Story {
  readonly version: RoomVersion
  readonly graph: RoomGraph
  readonly #states = new Map<string, NamedState>()
  readonly #ids = new Map<string, string>()
  readonly #names = new Map<string, string>()
  #last = 'create'
  #clock = 1

  constructor(version: RoomVersion, content: JsonObject = {}) {
    this.version = version
    const whole = version.creatorInContent ? { creator, ...content } : content
    const create = makeEvent(version, version.createEventIsRoomId ? undefined : roomId, {
      type: 'm.room.create',
      stateKey: '',
      sender: creator,
      content: whole,
      prevEvents: [],
      authEvents: [],
      depth: 1,
      ts: 1,
    })
    this.graph = new RoomGraph(create)
    this.#note('create', create.eventId, new Map([[placeOf('m.room.create', ''), create.eventId]]))
  }

  #note(name: string, id: string, state: NamedState): void {
    this.#ids.set(name, id)
    this.#names.set(id, name)
    this.#states.set(name, state)
    this.#last = name
  }

  id = (name: string): string => this.#ids.get(name)!

  tell(name: string, scene: Scene): this {
    const { after = [this.#last], type, sender, stateKey, content = {} } = scene
    const before = this.graph.resolve(after.map((prev) => this.#states.get(prev)!))
    const lookup = (wanted: string, key: string) =>
      this.graph.events.get(before.get(placeOf(wanted, key)) ?? '')
    const subject = { version: this.version, type, sender, stateKey, content }
    const cited =
      scene.auth?.map(this.id) ?? selectAuthEvents(subject, lookup).map((e) => e.eventId)
    const tick = ++this.#clock
    const event = makeEvent(this.version, this.graph.create.roomId, {
      type,
      sender,
      stateKey,
      content,
      prevEvents: after.map(this.id),
      authEvents: cited,
      depth: scene.depth ?? tick,
      ts: scene.ts ?? tick,
    })
    this.graph.add(event, scene.rejected)
    const state = new Map(before)
    if (stateKey !== undefined) state.set(placeOf(type, stateKey), event.eventId)
    this.#note(name, event.eventId, state)
    return this
  }

  member(name: string, sender: string, target: string, membership: string, more?: Partial<Scene>) {
    const content = { membership }
    return this.tell(name, { type: 'm.room.member', sender, stateKey: target, content, ...more })
  }

  /** Power levels; from v12 on the creator has no entry. */
  levels(name: string, sender: string, users: Record<string, number>, more?: Partial<Scene>): this {
    const others = { ...users }
    if (this.version.privilegedCreators) delete others[creator]
    return this.tell(name, {
      type: 'm.room.power_levels',
      sender,
      stateKey: '',
      content: { users: others },
      ...more,
    })
  }

  rule(name: string, sender: string, rule: string, more?: Partial<Scene>): this {
    const content = { join_rule: rule }
    return this.tell(name, { type: 'm.room.join_rules', sender, stateKey: '', content, ...more })
  }

  topic(name: string, sender: string, more?: Partial<Scene>): this {
    const content = { topic: name }
    return this.tell(name, { type: 'm.room.topic', sender, stateKey: '', content, ...more })
  }

  state = (name: string): NamedState => this.#states.get(name)!

  /** What a resolved state has at a place, by name. */
  nameAt(state: NamedState, type: string, stateKey = ''): string | undefined {
    return this.#names.get(state.get(placeOf(type, stateKey)) ?? '')
  }

  /** Resolves the states after some events; in either order of them, which must not matter. */
  resolve(...names: string[]): NamedState {
    const states = names.map(this.state)
    const resolved = this.graph.resolve(states)
    const reversed = this.graph.resolve(states.toReversed())
    const sorted = (state: NamedState) => [...state.values()].sort().join(' ')
    if (sorted(resolved) !== sorted(reversed)) throw new Error('the order of the states matters')
    return resolved
  }
}

import type { RoomEvent } from '#core/event/pdu.ts'
import type { RoomVersion } from '#core/room-version.ts'
import { authDifference } from '#core/state-res/auth-difference.ts'
import { changesTo, eventAt, findConflicts, type PackedState } from '#core/state-res/conflicts.ts'
import type { Conflicts } from '#core/state-res/conflicts.ts'
import { resolve } from '#core/state-res/resolve.ts'
import {
  alsoNeeded,
  fullConflictedSet,
  type Resolvable,
  type Resolution,
} from '#core/state-res/resolvable.ts'
import { run, type Steps } from '#core/state-res/steps.ts'
import { conflictedSubgraph } from '#core/state-res/subgraph.ts'

/** A room state by place, as tests write it: `type` and `state key` joined by a NUL, to event ID. */
export type NamedState = ReadonlyMap<string, string>

export const placeOf = (type: string, stateKey: string): string => `${type}\0${stateKey}`

/** The events of one room in memory, numbered: what the store is to the resolver. */
export class RoomGraph {
  readonly version: RoomVersion
  readonly create: RoomEvent
  readonly events = new Map<string, RoomEvent>()
  readonly rejected = new Set<string>()
  readonly #nids = new Map<string, number>()
  readonly #ids: string[] = []
  readonly #keys = new Map<string, number>()
  readonly #resolvables: Resolvable[] = []

  constructor(create: RoomEvent) {
    this.version = create.version
    this.create = create
    this.add(create)
  }

  /** Adds an event whose auth events are there already. */
  add(event: RoomEvent, rejected = false): void {
    const nid = this.#ids.length
    this.events.set(event.eventId, event)
    this.#nids.set(event.eventId, nid)
    this.#ids.push(event.eventId)
    if (rejected) this.rejected.add(event.eventId)
    const auth = event.authEvents.map((id) => this.nid(id))
    const place = placeOf(event.type, event.stateKey ?? '')
    let key = this.#keys.get(place)
    if (key === undefined) {
      key = this.#keys.size
      this.#keys.set(place, key)
    }
    this.#resolvables.push({ key, event, auth, rejected })
  }

  nid(eventId: string): number {
    const nid = this.#nids.get(eventId)
    if (nid === undefined) throw new Error(`the room has no event ${eventId}`)
    return nid
  }

  id = (nid: number): string => this.#ids[nid]!

  event = (nid: number): Resolvable => this.#resolvables[nid]!

  authOf = (nid: number): readonly number[] => this.#resolvables[nid]!.auth

  powerLevelsOf = (nid: number): number | undefined =>
    this.authOf(nid).find((auth) => this.event(auth).event.type === 'm.room.power_levels')

  keyOf = (type: string, stateKey: string): number | undefined =>
    this.#keys.get(placeOf(type, stateKey))

  pack(state: NamedState): PackedState {
    const pairs = [...state].map(([place, id]) => [this.#keys.get(place)!, this.nid(id)] as const)
    pairs.sort(([a], [b]) => a - b)
    return {
      keys: Uint32Array.from(pairs, ([key]) => key),
      events: Uint32Array.from(pairs, ([, event]) => event),
    }
  }

  /** What the resolver gets: only what it says it needs can be asked of it. */
  *resolution(states: readonly PackedState[], conflicts: Conflicts): Steps<Resolution> {
    const shared = Array.from(states[0]!.keys).filter((key) => !conflicts.candidates.has(key))
    const unconflicted = new Map(shared.map((key) => [key, eventAt(states[0]!, key)!]))
    const resolution: Resolution = {
      conflicts,
      authDifference: yield* authDifference(conflicts, unconflicted.values(), this.authOf),
      subgraph:
        this.version.stateResolution === 'v2.1'
          ? yield* conflictedSubgraph(conflicts.perState.flat(), this.authOf)
          : [],
      create: this.create,
      event: this.event,
      powerLevelsOf: this.powerLevelsOf,
      keyOf: this.keyOf,
      unconflicted: (key) => unconflicted.get(key),
    }
    const full = yield* fullConflictedSet(resolution)
    const loaded = new Set([...full, ...(yield* alsoNeeded(full, resolution))])
    const event = (nid: number) => {
      if (!loaded.has(nid)) throw new Error(`${this.id(nid)} was not asked for beforehand`)
      return this.event(nid)
    }
    return { ...resolution, event }
  }

  *resolveSteps(states: readonly NamedState[]): Steps<NamedState> {
    const packed = states.map((state) => this.pack(state))
    const conflicts = yield* findConflicts(packed)
    const resolution = yield* this.resolution(packed, conflicts)
    const resolved = yield* resolve(this.version, resolution)
    const result = new Map(states[0])
    for (const [key, nid] of changesTo(packed[0]!, conflicts, resolved)) {
      if (nid === undefined) {
        const { event } = this.event(eventAt(packed[0]!, key)!)
        result.delete(placeOf(event.type, event.stateKey!))
      } else {
        const { event } = this.event(nid)
        result.set(placeOf(event.type, event.stateKey!), event.eventId)
      }
    }
    return result
  }

  resolve(states: readonly NamedState[]): NamedState {
    return run(this.resolveSteps(states))
  }
}

import type { AuthSubject, StateKey, StateLookup } from '#core/event/auth-events.ts'
import type { RoomEvent } from '#core/event/pdu.ts'
import type { Interned } from '#store/room/intern.ts'
import type { StateMap } from '#store/room/state-map.ts'
import { keysAsked } from '#engine/room/numbers.ts'
import type { Parts } from '#engine/room/parts.ts'
import type { Known, Room } from '#engine/room/room.ts'
import type { Task } from '#engine/room/task.ts'

type Cited = Pick<Known, 'nid' | 'authOrder'>

/** What many events, one after the other, ask of a room's state, and what the state events among them change. */
export class StateView {
  readonly #byKey = new Map<string, Map<string, RoomEvent>>()
  readonly #cited = new Map<string, Cited>()

  /** Reads all that these events may ask of a state. */
  static *of(
    parts: Parts,
    room: Room,
    state: StateMap,
    subjects: readonly AuthSubject[],
    numbers: Interned,
  ): Task<StateView> {
    const wanted = new Map<number, StateKey>()
    let last: string | undefined
    for (const subject of subjects) {
      // Messages of one sender ask for the same.
      const same = subject.stateKey === undefined ? subject.sender : undefined
      if (same !== undefined && same === last) continue
      last = same
      for (const key of keysAsked(subject)) {
        const nid = state.get(numbers.stateKey(...key))
        if (nid !== undefined) wanted.set(nid, key)
      }
    }
    const view = new StateView()
    const found = yield* parts.events.byNids(room, wanted.keys())
    for (const [nid, [type, stateKey]] of wanted) {
      const known = found.get(nid)!
      view.#set(type, stateKey, known.event)
      view.know(known.event.eventId, known)
    }
    return view
  }

  readonly lookup: StateLookup = (type, stateKey) => this.#byKey.get(type)?.get(stateKey)

  /** A state event that comes after those that were read. */
  put(event: RoomEvent): void {
    this.#set(event.type, event.stateKey!, event)
  }

  /** What such an event is here. */
  know(eventId: string, cited: Cited): void {
    this.#cited.set(eventId, cited)
  }

  cited(eventId: string): Cited | undefined {
    return this.#cited.get(eventId)
  }

  #set(type: string, stateKey: string, event: RoomEvent): void {
    const keys = this.#byKey.get(type)
    if (keys) keys.set(stateKey, event)
    else this.#byKey.set(type, new Map([[stateKey, event]]))
  }
}

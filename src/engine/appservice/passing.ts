import type { JsonObject } from '#core/json.ts'

/** What waits for one application service; of more the oldest is lost. */
const maxWaiting = 100

/**
 * What passes, for those who want it: who types, and who is there. It lives in memory, and of each thing only
 * the newest is told.
 */
export class Passing {
  readonly #waiting = new Map<number, Map<string, JsonObject>>()

  /** A newer event of the same key takes the place of one still waiting. */
  put(place: number, key: string, event: JsonObject): void {
    const events = this.#waiting.get(place) ?? new Map<string, JsonObject>()
    events.delete(key)
    this.#waiting.set(place, events.set(key, event))
    if (events.size <= maxWaiting) return
    const [oldest] = events.keys()
    events.delete(oldest!)
  }

  /** What waits; `done` drops what has not been replaced since. */
  take(place: number): { events: JsonObject[]; done: () => void } {
    const events = this.#waiting.get(place)
    if (!events || events.size === 0) return { events: [], done: () => {} }
    const taken = [...events]
    return {
      events: taken.map(([, event]) => event),
      done: () => {
        for (const [key, event] of taken) if (events.get(key) === event) events.delete(key)
      },
    }
  }

  /** Nobody wants to know who typed before they went away. */
  forget(place: number): void {
    this.#waiting.delete(place)
  }

  get size(): number {
    let size = 0
    for (const events of this.#waiting.values()) size += events.size
    return size
  }
}

import type { Lane } from '#engine/room/lane.ts'

/**
 * Keeps those who would overtake something out for a while. Whoever asks while it is held waits until it
 * ends, or has run out, whichever is first; nobody waits for a second one.
 */
export class Hold {
  #held: { end: () => void; ended: Promise<void> } | undefined

  get on(): boolean {
    return this.#held !== undefined
  }

  /** Holds for so long at most. */
  start(ms: number): void {
    if (this.#held) return
    const { promise: ended, resolve } = Promise.withResolvers<void>()
    const timer = setTimeout(() => this.end(), ms)
    const end = () => {
      clearTimeout(timer)
      resolve()
    }
    this.#held = { end, ended }
  }

  end(): void {
    const held = this.#held
    this.#held = undefined
    held?.end()
  }

  /** What to wait for; undefined if there is nothing. */
  get ended(): Promise<void> | undefined {
    return this.#held?.ended
  }
}

/** What may be kept out of a room: local changes of its state, all local events, events of other servers. */
export class Holds {
  readonly state = new Hold()
  readonly local = new Hold()
  readonly inbound = new Hold()
}

/** Waits where local events are kept out, before one gets into the lane: there it would hold others up. */
export async function passHolds({ room }: Lane, isState: boolean): Promise<void> {
  if (!room) return
  const { local, state } = room.holds
  if (!local.on && !state.on) return
  await Promise.all([local.ended, isState ? state.ended : undefined])
}

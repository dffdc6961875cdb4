import type { Made, MadeUpServer } from '#test/builders.ts'
import type { Origin, Request } from './origin.ts'
import type { OriginRoom } from './origin-room.ts'
import type { TrafficWish } from './protocol.ts'

/** A signed transaction, and those that must have been answered before it is sent: it builds on them. */
export type Step = { request: Request; after: readonly Step[]; answered?: true }

export type MadeTraffic = {
  /** For each origin, in order. */
  steps: Map<Origin, Step[]>
  valid: Map<OriginRoom, string[]>
  wrong: string[]
}

/** Rooms that one transaction speaks in, at most. */
const roomsAtOnce = 10

/**
 * Makes and signs events in waves, of which each origin has one transaction: in every room a branch of
 * its own, whose first event cites where the branches of the others ended in the wave before.
 */
export function makeTraffic(
  origins: readonly Origin[],
  rooms: readonly OriginRoom[],
  wish: TrafficWish,
): MadeTraffic {
  const made: MadeTraffic = {
    steps: new Map(),
    valid: new Map(rooms.map((room) => [room, []])),
    wrong: [],
  }
  const places = origins
    .map((origin) => ({
      origin,
      own: rooms.filter(({ speakers }) => speakers.includes(origin.server)),
    }))
    .filter(({ own }) => own.length > 0)
  /** Which transactions the ends of a room's branches came with. */
  const last = new Map(rooms.map((room) => [room, new Set<Step>()]))
  const maker = new EventMaker(wish, made)
  for (let wave = 0, n = 0; n < wish.events; wave++) {
    const before = new Map(
      rooms.map((room) => [room, { tips: room.tips, steps: [...last.get(room)!] }] as const),
    )
    for (const room of rooms) last.get(room)!.clear()
    for (const { origin, own } of places) {
      const size = Math.min(wish.txn, wish.events - n)
      if (size <= 0) break
      const some = Math.min(own.length, roomsAtOnce)
      const chosen = Array.from({ length: some }, (_, k) => own[(wave * some + k) % own.length]!)
      const events = Array.from({ length: size }, (_, k) => {
        const room = chosen[Math.floor((k * some) / size)]!
        return maker.next(room, origin.server, before.get(room)!.tips)
      })
      n += size
      const step: Step = {
        request: origin.transaction(
          events.map(({ text }) => text),
          events.map(({ event }) => event.eventId),
        ),
        after: [...new Set(chosen.flatMap((room) => before.get(room)!.steps))],
      }
      maker.endTransaction()
      for (const room of chosen) last.get(room)!.add(step)
      const steps = made.steps.get(origin)
      if (steps) steps.push(step)
      else made.steps.set(origin, [step])
    }
    // Who had no turn is still known for the next.
    for (const [room, steps] of last)
      if (steps.size === 0) for (const step of before.get(room)!.steps) steps.add(step)
  }
  return made
}

/** Makes one event after another, of the kinds and shares that were wished for. */
class EventMaker {
  readonly #wish: TrafficWish
  readonly #made: MadeTraffic
  #n = 0
  /** Rooms that the transaction has spoken in. */
  readonly #begun = new Set<OriginRoom>()

  constructor(wish: TrafficWish, made: MadeTraffic) {
    this.#wish = wish
    this.#made = made
  }

  endTransaction(): void {
    this.#begun.clear()
  }

  next(room: OriginRoom, speaker: MadeUpServer, tips: readonly string[]): Made {
    const n = this.#n++
    const { wrong } = this.#wish
    if (isDue(n, wrong, 0.4)) {
      const made = room.forge(speaker, `wrong ${n}`)
      this.#made.wrong.push(made.event.eventId)
      return made
    }
    const prev = room.tipsFor(speaker, this.#begun.has(room) ? [] : tips)
    this.#begun.add(room)
    const made = this.#valid(room, speaker, n, prev)
    this.#made.valid.get(room)!.push(made.event.eventId)
    return made
  }

  #valid(room: OriginRoom, speaker: MadeUpServer, n: number, prev: readonly string[]): Made {
    const { kind, state, joins } = this.#wish
    if (isDue(n, state, 0)) return room.change(speaker, `topic ${n}`, prev)
    if (kind === 'messages' && !isDue(n, joins, 0.7))
      return room.say(speaker, room.someone(speaker, n), `${n}`, prev)
    // In a flood of members every fourth has been there.
    const isOld = kind === 'members' && n % 4 === 3
    const userId = isOld ? room.someone(speaker, n * 7919) : room.newcomer(speaker)
    return room.join(speaker, userId, prev)
  }
}

/** Whether the nth is one of this share of all, which are spread evenly. */
export const isDue = (n: number, share: number, phase: number): boolean =>
  Math.floor((n + 1) * share + phase) > Math.floor(n * share + phase)

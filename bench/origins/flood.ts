import type { MadeUpServer } from '#test/builders.ts'
import type { Origin, Request } from './origin.ts'
import type { OriginRoom } from './origin-room.ts'
import type { FloodWish } from './protocol.ts'
import type { Sending } from './sending.ts'
import { isDue } from './traffic.ts'

/** Rooms that one transaction speaks in, at most. */
const roomsAtOnce = 5
/** Events of a room that are kept for who asks for them. */
const kept = 20_000

/** Spam, made as it goes: what an origin says builds on what it knows to have arrived. */
export class Flood {
  /** Valid events that were answered with 200. */
  acknowledged: string[] = []
  readonly #origins: readonly Origin[]
  readonly #rooms: readonly OriginRoom[]
  readonly #wish: FloodWish
  /** The ends of branches that have arrived, by speaker; who spoke last comes last. */
  readonly #arrived = new Map<OriginRoom, Map<MadeUpServer, string>>()
  /** What was sent and not answered when a flood was halted goes first in the next. */
  readonly #open = new Map<Origin, Made>()
  #n = 0

  constructor(origins: readonly Origin[], rooms: readonly OriginRoom[], wish: FloodWish) {
    this.#origins = origins
    this.#rooms = rooms
    this.#wish = wish
    for (const room of rooms) this.#arrived.set(room, new Map())
  }

  async run(sending: Sending): Promise<void> {
    const { perSecond, txn } = this.#wish
    const places = this.#origins
      .map((origin) => ({
        origin,
        own: this.#rooms.filter(({ speakers }) => speakers.includes(origin.server)),
      }))
      .filter(({ own }) => own.length > 0)
    const one = async ({ origin, own }: (typeof places)[number], place: number) => {
      for (let turn = 0; !sending.isHalted; turn++) {
        if (perSecond !== undefined)
          await sending.until(((turn * places.length + place) * txn * 1000) / perSecond)
        const made = this.#open.get(origin) ?? this.#make(origin, own, turn + place)
        this.#open.set(origin, made)
        if (!(await sending.deliver(made.request))) return
        this.#open.delete(origin)
        this.#note(origin, made)
      }
    }
    await Promise.all(places.map(one))
  }

  #make(origin: Origin, own: readonly OriginRoom[], turn: number): Made {
    const { txn } = this.#wish
    const some = Math.min(own.length, roomsAtOnce, txn)
    const rooms = Array.from({ length: some }, (_, k) => own[(turn * some + k) % own.length]!)
    const valid: string[] = []
    const texts: string[] = []
    const tips = new Map<OriginRoom, string>()
    for (let k = 0; k < txn; k++) {
      const room = rooms[Math.floor((k * some) / txn)]!
      const made = this.#event(room, origin.server, tips.has(room))
      texts.push(made.text)
      if (!made.isValid) continue
      valid.push(made.eventId)
      tips.set(room, made.eventId)
    }
    return { request: origin.transaction(texts, valid), tips }
  }

  #event(room: OriginRoom, speaker: MadeUpServer, hasBegun: boolean) {
    const n = this.#n++
    if (isDue(n, this.#wish.wrong, 0.4)) {
      const { text, event } = room.forge(speaker, `wrong ${n}`)
      return { text, eventId: event.eventId, isValid: false }
    }
    const prev = room.tipsFor(speaker, hasBegun ? [] : this.#othersTips(room))
    const { text, event } = isDue(n, this.#wish.joins, 0.7)
      ? room.join(speaker, room.newcomer(speaker), prev)
      : room.say(speaker, room.someone(speaker, n), `${n}`, prev)
    return { text, eventId: event.eventId, isValid: true }
  }

  /** Some of the branches that others let go of longest ago come first: all are cited in time. */
  #othersTips(room: OriginRoom): string[] {
    const arrived = this.#arrived.get(room)!
    const oldest = [...arrived].slice(0, 10)
    for (const [speaker, tip] of oldest) {
      arrived.delete(speaker)
      arrived.set(speaker, tip)
    }
    return oldest.map(([, tip]) => tip)
  }

  #note(origin: Origin, { request, tips }: Made): void {
    this.acknowledged.push(...request.ids)
    for (const [room, tip] of tips) {
      const arrived = this.#arrived.get(room)!
      arrived.delete(origin.server)
      arrived.set(origin.server, tip)
      room.forget(kept)
    }
  }
}

type Made = { request: Request; tips: Map<OriginRoom, string> }

import { createHash } from 'node:crypto'
import type { Order } from './order.ts'
import { essence, type Expected } from './expected.ts'
import type { ReadEvent, RoomPages } from './room-pages.ts'

export type Fault = { what: string; where: string }

export type Counts = {
  expected: Map<string, number>
  found: Map<string, number>
  expectedHash: string
  foundHash: string
}

const largePage = 100
/** How far ahead an event is looked for that does not come when it should. */
const ahead = 2000
const mostFaults = 100
/** The server finds out who answers whom behind the commit: so long it has for all threads. */
const indexMs = 60_000
const againMs = 200

/** Compares a room with what was sent into it. */
export class RoomCheck {
  readonly faults: Fault[] = []
  faultCount = 0
  readonly #pages: RoomPages
  readonly #order: Order

  constructor(pages: RoomPages, order: Order) {
    this.#pages = pages
    this.#order = order
  }

  /** Reads from the start, and compares every event that was sent with what is read. */
  async forwards(expected: AsyncGenerator<Expected>): Promise<Counts> {
    const counts = { expected: new Map<string, number>(), found: new Map<string, number>() }
    const hashes = { expected: createHash('sha256'), found: createHash('sha256') }
    const waiting = new Waiting(expected, (each) => {
      count(counts.expected, kindOf(each.record))
      if (each.eventId === undefined) this.#fault('It became no event', each.record.src_id)
    })
    for await (const event of this.#pages.all('f', largePage)) {
      const skipped = await waiting.take(event.event_id)
      if (skipped === undefined) {
        if (!this.#order.add(event.event_id)) this.#fault('Read twice', event.event_id)
        continue
      }
      for (const each of skipped.missing)
        this.#fault('Missing where it should be read', `${each.record.src_id} ${each.eventId}`)
      const { record } = skipped.found
      count(counts.found, kindOf(record))
      const isRedacted = event.unsigned?.redacted_because !== undefined
      const should = essence(record, isRedacted)
      const is = essence({ ...event, ts: event.origin_server_ts }, isRedacted)
      if (!this.#order.add(event.event_id, is)) this.#fault('Read twice', event.event_id)
      hashes.expected.update(should)
      hashes.found.update(is)
      if (should !== is)
        this.#fault('It reads otherwise than it was sent', `${record.src_id}: ${is}`)
      this.#countReply(record, event)
    }
    for (const { record, eventId } of await waiting.rest())
      this.#fault('Missing', `${record.src_id} ${eventId}`)
    return {
      ...counts,
      expectedHash: hashes.expected.digest('hex'),
      foundHash: hashes.found.digest('hex'),
    }
  }

  /** Reads from the end: the same events in the opposite order. */
  async backwards(): Promise<void> {
    let at = this.#order.count
    for await (const event of this.#pages.all('b', largePage)) {
      const place = this.#order.placeOf(event.event_id)
      // What was said since is not part of it.
      if (place === undefined) continue
      if (place !== at - 1)
        this.#fault('Backwards, another event was expected here', event.event_id)
      at = place
    }
    if (at !== 0) this.#fault('Backwards, the start is not reached', `${at} events short`)
  }

  /** Reads small pages around borders and in places chosen at random. */
  async small(sample: number): Promise<number> {
    const { count: size } = this.#order
    const places = new Set(this.#order.borders(50).flatMap((place) => [place, place + 1]))
    for (let each = 0; each < sample; each++) places.add(Math.floor(Math.random() * size))
    let checked = 0
    for (const place of places) {
      const eventId = this.#order.at(place)
      if (eventId === undefined) continue
      checked++
      for (const dir of ['f', 'b'] as const) {
        for (const [limit, pages] of [
          [1, 5],
          [7, 3],
        ] as const) {
          const found = await this.#pages.next(eventId, dir, limit, pages)
          const should = this.#order.from(place, dir, found.length)
          const is = found.map((event) => event.event_id)
          if (is.slice(0, should.length).join() !== should.join())
            this.#fault(
              `Pages of ${limit} ${dir === 'f' ? 'forwards' : 'backwards'} differ`,
              eventId,
            )
        }
      }
    }
    return checked
  }

  /** Every thread has its replies. */
  async threads(most: number): Promise<number> {
    const threads = this.#order.threads(most)
    const givenUp = performance.now() + indexMs
    for (const { root, replies } of threads) {
      let found = await this.#pages.relations(root, 'm.thread')
      while (found.length < replies && performance.now() < givenUp) {
        await Bun.sleep(againMs)
        found = await this.#pages.relations(root, 'm.thread')
      }
      if (found.length < replies)
        this.#fault(`A thread has ${found.length} of ${replies} replies`, root)
    }
    return threads.length
  }

  #countReply(record: Expected['record'], event: ReadEvent): void {
    if (record.relates?.thread === undefined) return
    const relation = event.content['m.relates_to'] as { event_id?: unknown; rel_type?: unknown }
    if (relation?.rel_type === 'm.thread' && typeof relation.event_id === 'string')
      this.#order.addReply(relation.event_id)
    else if (event.unsigned?.redacted_because === undefined)
      this.#fault('It is in no thread', event.event_id)
  }

  #fault(what: string, where: string): void {
    this.faultCount++
    if (this.faults.length < mostFaults) this.faults.push({ what, where })
  }
}

/** What is still to be read, of which a part is held. */
class Waiting {
  readonly #source: AsyncGenerator<Expected>
  readonly #onTaken: (each: Expected) => void
  readonly #held: Expected[] = []
  readonly #ids = new Set<string>()
  #ended = false

  constructor(source: AsyncGenerator<Expected>, onTaken: (each: Expected) => void) {
    this.#source = source
    this.#onTaken = onTaken
  }

  /** An event by its ID, with those that should have come before it. */
  async take(eventId: string): Promise<{ found: Expected; missing: Expected[] } | undefined> {
    await this.#fill()
    if (!this.#ids.has(eventId)) return undefined
    const missing: Expected[] = []
    for (;;) {
      const next = this.#held.shift()!
      this.#ids.delete(next.eventId!)
      if (next.eventId === eventId) return { found: next, missing }
      missing.push(next)
    }
  }

  async rest(): Promise<Expected[]> {
    const all: Expected[] = []
    do {
      await this.#fill()
      all.push(...this.#held.splice(0))
      this.#ids.clear()
    } while (!this.#ended && all.length < 10_000)
    return all
  }

  async #fill(): Promise<void> {
    if (this.#held.length > ahead / 2) return
    while (!this.#ended && this.#held.length < ahead) {
      const { done, value } = await this.#source.next()
      if (done) {
        this.#ended = true
        return
      }
      this.#onTaken(value)
      if (value.eventId === undefined || this.#ids.has(value.eventId)) continue
      this.#held.push(value)
      this.#ids.add(value.eventId)
    }
  }
}

const kindOf = ({ type, relates }: Expected['record']) =>
  relates?.rel_type === 'm.replace' ? 'edit' : type

function count(counts: Map<string, number>, kind: string): void {
  counts.set(kind, (counts.get(kind) ?? 0) + 1)
}

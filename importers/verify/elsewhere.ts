import { createHash } from 'node:crypto'
import { essence } from './expected.ts'
import type { Fault } from './room-check.ts'
import type { Order } from './order.ts'
import type { ReadEvent, RoomPages } from './room-pages.ts'

const pageSize = 100
const mostFaults = 100

/** How a room reads on another server, both ways; hashes of what was imported, as read backwards. */
export type Elsewhere = {
  found: number
  missing: number
  outOfOrder: number
  differing: number
  expectedHash: string
  foundHash: string
  faults: Fault[]
}

/**
 * Compares how a room reads on another server with how it reads on ours: which of the imported events are
 * there, in which order, and what they say; from the end to the start, and back.
 */
export async function readElsewhere(pages: RoomPages, order: Order): Promise<Elsewhere> {
  const reading = new Reading(order)
  const down = new Direction(reading, 'b')
  let oldest: string | undefined
  for await (const event of pages.all('b', pageSize)) {
    oldest = event.event_id
    if (!order.mine(oldest)) continue
    if (order.readElsewhere(oldest)) down.take(event)
    else reading.differ('It reads twice there', oldest)
  }
  const missing = order.unreadCount
  for (const id of order.unread(mostFaults)) reading.fault('It is missing there', id)
  const up = new Direction(reading, 'f')
  // A server may begin at what it was told live, unless it is asked for what comes after something.
  if (oldest !== undefined) for await (const event of pages.onFrom(oldest, pageSize)) up.take(event)
  if (up.found < down.found)
    reading.fault('Read forwards, so many are missing there', `${down.found - up.found}`)
  const hash = createHash('sha256')
  for (const said of order.said()) hash.update(said)
  const { differing, faults } = reading
  return {
    found: down.found,
    missing: missing + Math.max(0, down.found - up.found),
    outOfOrder: down.outOfOrder + up.outOfOrder,
    differing,
    expectedHash: hash.digest('hex'),
    foundHash: down.hash.digest('hex'),
    faults,
  }
}

class Reading {
  differing = 0
  readonly order: Order
  readonly faults: Fault[] = []

  constructor(order: Order) {
    this.order = order
  }

  differ(what: string, where: string): void {
    this.differing++
    this.fault(what, where)
  }

  fault(what: string, where: string): void {
    if (this.faults.length < mostFaults) this.faults.push({ what, where })
  }
}

/** One way through the room. */
class Direction {
  found = 0
  outOfOrder = 0
  readonly hash = createHash('sha256')
  readonly #reading: Reading
  readonly #dir: 'f' | 'b'
  #at: number

  constructor(reading: Reading, dir: 'f' | 'b') {
    this.#reading = reading
    this.#dir = dir
    this.#at = dir === 'f' ? -1 : reading.order.count
  }

  take(event: ReadEvent): void {
    const mine = this.#reading.order.mine(event.event_id)
    if (!mine) return
    this.found++
    const isRedacted = event.unsigned?.redacted_because !== undefined
    const said = essence({ ...event, ts: event.origin_server_ts }, isRedacted)
    this.hash.update(said)
    if (said !== mine.said && this.#dir === 'b')
      this.#reading.differ('It reads otherwise there', `${event.event_id}: ${said}`)
    const isAhead = this.#dir === 'f' ? mine.place < this.#at : mine.place > this.#at
    if (isAhead) {
      this.outOfOrder++
      this.#reading.fault(
        `It reads too ${this.#dir === 'f' ? 'late' : 'early'} there`,
        event.event_id,
      )
    } else this.#at = mine.place
  }
}

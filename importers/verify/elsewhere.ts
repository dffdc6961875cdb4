import type { Fault } from './room-check.ts'
import type { Order } from './order.ts'
import type { RoomPages } from './room-pages.ts'

const pageSize = 100

export type Elsewhere = { found: number; missing: number; outOfOrder: number; faults: Fault[] }

/** How a room reads on another server: which of the imported events are there, and in which order. */
export async function readElsewhere(pages: RoomPages, order: Order): Promise<Elsewhere> {
  const result: Elsewhere = { found: 0, missing: 0, outOfOrder: 0, faults: [] }
  let at = order.count
  for await (const event of pages.all('b', pageSize)) {
    const place = order.placeOf(event.event_id)
    if (place === undefined || !order.isMine(event.event_id)) continue
    result.found++
    if (place > at) {
      result.outOfOrder++
      result.faults.push({ what: 'It reads too early', where: event.event_id })
      continue
    }
    at = place
  }
  let mine = 0
  for (let next = order.mineBelow(order.count); next; next = order.mineBelow(next.place)) mine++
  result.missing = mine - result.found
  return result
}

import { userLevel } from '#core/auth/levels.ts'
import type { RoomEvent } from '#core/event/pdu.ts'
import { byTimeThenId } from './order.ts'
import type { Resolution } from './resolvable.ts'
import type { Steps } from './steps.ts'

const eventsPerStep = 256

/**
 * Tells whether an event may take a right away from somebody. Power levels and join rules with a state
 * key give and take none.
 *
 * Spec: rooms/v2/#definitions (power events)
 */
export function isPowerEvent({ type, stateKey, sender, content }: RoomEvent): boolean {
  if (type === 'm.room.power_levels' || type === 'm.room.join_rules') return stateKey === ''
  if (type !== 'm.room.member' || sender === stateKey) return false
  return content['membership'] === 'leave' || content['membership'] === 'ban'
}

/**
 * Selects the power events of the full conflicted set, with those of their auth chains that are in
 * it too, each with its auth events among them.
 *
 * Not spec: chains are followed within the set only, as every server does. By the text an event that
 * is reached over others is selected too; that never happens in 2.1, whose subgraph has those others,
 * and of random forks before it, one in several thousand resolves differently.
 */
export function* selectPowerEvents(
  full: ReadonlySet<number>,
  resolution: Resolution,
): Steps<Map<number, number[]>> {
  const selected = new Map<number, number[]>()
  let step = 0
  for (const nid of full) {
    if (++step % eventsPerStep === 0) yield
    if (!isPowerEvent(resolution.event(nid).event)) continue
    const open = [nid]
    while (open.length > 0) {
      const event = open.pop()!
      if (selected.has(event)) continue
      const auth = resolution.event(event).auth.filter((cited) => full.has(cited))
      selected.set(event, [...new Set(auth)])
      open.push(...auth)
      if (++step % eventsPerStep === 0) yield
    }
  }
  return selected
}

/**
 * Sorts events by their auth edges, earliest first: among those that could come next, the sender with
 * the most power goes first.
 *
 * Spec: rooms/v2/#definitions (reverse topological power ordering)
 */
export function* powerOrder(
  selected: ReadonlyMap<number, readonly number[]>,
  resolution: Resolution,
): Steps<number[]> {
  const citedBy = new Map<number, Ranked[]>()
  const ready = new Heap()
  let step = 0
  for (const [nid, auth] of selected) {
    const { event } = resolution.event(nid)
    const ranked = { nid, event, level: senderLevel(nid, event, resolution), open: auth.length }
    if (auth.length === 0) ready.push(ranked)
    for (const cited of auth) {
      const citing = citedBy.get(cited)
      if (citing === undefined) citedBy.set(cited, [ranked])
      else citing.push(ranked)
    }
    if (++step % eventsPerStep === 0) yield
  }
  const order: number[] = []
  for (let next = ready.pop(); next !== undefined; next = ready.pop()) {
    order.push(next.nid)
    for (const citing of citedBy.get(next.nid) ?? []) if (--citing.open === 0) ready.push(citing)
    if (++step % eventsPerStep === 0) yield
  }
  return order
}

type Ranked = { nid: number; event: RoomEvent; level: number; open: number }

/** The sender's level by the event's own auth events; one that cannot be read comes last. */
function senderLevel(nid: number, event: RoomEvent, resolution: Resolution): number {
  const powerLevels = resolution.powerLevelsOf(nid)
  const content = powerLevels === undefined ? undefined : resolution.event(powerLevels).event
  const level = userLevel(resolution.create, content, event.sender)
  return Number.isNaN(level) ? -Infinity : level
}

function goesBefore(a: Ranked, b: Ranked): boolean {
  return a.level === b.level ? byTimeThenId(a.event, b.event) < 0 : a.level > b.level
}

/** A binary heap: the first of what it holds is found in logarithmic time. */
class Heap {
  readonly #items: Ranked[] = []

  push(item: Ranked): void {
    const items = this.#items
    let index = items.length
    while (index > 0) {
      const parent = (index - 1) >>> 1
      if (!goesBefore(item, items[parent]!)) break
      items[index] = items[parent]!
      index = parent
    }
    items[index] = item
  }

  pop(): Ranked | undefined {
    const items = this.#items
    const first = items[0]
    const last = items.pop()
    if (first === undefined || last === undefined || items.length === 0) return first
    let index = 0
    for (let child = 1; child < items.length; child = 2 * index + 1) {
      if (child + 1 < items.length && goesBefore(items[child + 1]!, items[child]!)) child++
      if (!goesBefore(items[child]!, last)) break
      items[index] = items[child]!
      index = child
    }
    items[index] = last
    return first
  }
}

import type { Span } from './batch.ts'
import { keyBetween } from './order-key.ts'
import { keyText, type Place, type SpanList } from './span-list.ts'

/** An event that belongs into history: some event that is there, or another of these, cites it. */
export type LateEvent = {
  eventId: string
  /** Older ones read first where nothing else decides. */
  depth: number
  /** Where the events stand that cite it and are placed. */
  children: readonly Place[]
  /** Others of these that cite it. */
  lateChildren: readonly string[]
  /** IDs that it cites and that are neither here nor among these. */
  missing: readonly string[]
}

export type LatePlan = {
  /** By event ID. One that nothing placed leads to has no place. */
  places: Map<string, Place>
  /** The rows to put; they are in the list already. */
  spans: Span[]
}

/** Events that go directly before one place, oldest first. */
type Run = { before: Place; events: LateEvent[] }

/**
 * Places late events: each directly before its earliest-reading child. What goes to the same place is
 * one run, which extends the chain that adjoins or opens one; a span is cut where a run falls into its
 * middle, or where something is missing, since a gap stands before a span. `list` must know the
 * surroundings of every child's place (`SpanList.unknown`).
 */
export function placeLate(
  list: SpanList,
  events: readonly LateEvent[],
  nextChain: () => number,
): LatePlan {
  const places = new Map<string, Place>()
  const spans = new Map<string, Span>()
  const put = (span: Span) => {
    list.put(span)
    spans.set(keyText(span.orderKey), span)
  }
  for (const run of runsOf(list, events)) placeRun(list, run, nextChain, places, put)
  for (const event of events) if (places.has(event.eventId)) closeGaps(list, event, put)
  return { places, spans: [...spans.values()] }
}

/** Deals the events to runs, children first, the oldest first among those that are free to go. */
function runsOf(list: SpanList, events: readonly LateEvent[]): Iterable<Run> {
  const runs = new Map<string, Run>()
  const runOf = new Map<string, Run>()
  const byId = new Map(events.map((event) => [event.eventId, event]))
  const waiting = new Map<string, number>()
  const parents = new Map<string, LateEvent[]>()
  for (const event of events) {
    const children = event.lateChildren.filter((id) => byId.has(id))
    waiting.set(event.eventId, children.length)
    for (const child of children) parents.set(child, [...(parents.get(child) ?? []), event])
  }
  const free = events.filter(({ eventId }) => waiting.get(eventId) === 0)
  while (free.length > 0) {
    const event = takeOldest(free)
    for (const parent of parents.get(event.eventId) ?? []) {
      const left = waiting.get(parent.eventId)! - 1
      waiting.set(parent.eventId, left)
      if (left === 0) free.push(parent)
    }
    let first: { run: Run; at: number } | undefined
    const consider = (run: Run, at: number) => {
      const earlier = first && comparePlaces(list, run.before, first.run.before)
      if (!first || earlier! < 0 || (earlier === 0 && at < first.at)) first = { run, at }
    }
    for (const place of event.children) {
      const key = `${place.chain} ${place.index}`
      const run = runs.get(key) ?? { before: place, events: [] }
      consider(run, Infinity)
    }
    for (const child of event.lateChildren) {
      const run = runOf.get(child)
      if (run) consider(run, run.events.indexOf(byId.get(child)!))
    }
    if (!first) continue
    const { run, at } = first as { run: Run; at: number }
    runs.set(`${run.before.chain} ${run.before.index}`, run)
    run.events.splice(Math.min(at, run.events.length), 0, event)
    runOf.set(event.eventId, run)
  }
  return runs.values()
}

function takeOldest(free: LateEvent[]): LateEvent {
  let at = 0
  for (let index = 1; index < free.length; index++)
    if (free[index]!.depth < free[at]!.depth) at = index
  return free.splice(at, 1)[0]!
}

function comparePlaces(list: SpanList, a: Place, b: Place): number {
  const [first, second] = [spanAt(list, a), spanAt(list, b)]
  return first === second ? a.index - b.index : first - second
}

function spanAt(list: SpanList, place: Place): number {
  const at = list.find(place)
  if (at < 0) throw new Error(`No span holds ${place.index} of chain ${place.chain}`)
  return at
}

function placeRun(
  list: SpanList,
  { before, events }: Run,
  nextChain: () => number,
  places: Map<string, Place>,
  put: (span: Span) => void,
): void {
  const anchor = splitBefore(list, before, put)
  const span = list.spans[anchor]!
  const previous = list.spans[anchor - 1]
  const arrived = new Set(events.map(({ eventId }) => eventId))
  const gap = span.gap?.filter((id) => !arrived.has(id)) ?? []
  const count = events.length
  const end = previous && (previous.to ?? list.extent(previous.chain)?.high)
  let chain: number
  let start: number
  let grows: 'down' | 'up' | 'new'
  if (before.index === list.extent(before.chain)!.low && !list.isImport(before.chain)) {
    grows = 'down'
    chain = before.chain
    start = before.index - count
  } else if (
    previous &&
    !list.isImport(previous.chain) &&
    end !== undefined &&
    end === list.extent(previous.chain)!.high
  ) {
    grows = 'up'
    chain = previous.chain
    start = end + 1
  } else {
    grows = 'new'
    chain = nextChain()
    start = 0
  }
  for (const [offset, { eventId }] of events.entries())
    places.set(eventId, { chain, index: start + offset })
  list.used(chain, start)
  list.used(chain, start + count - 1)

  const pieces = piecesOf(events, start)
  const last = start + count - 1
  let left = previous
  let low = previous?.orderKey ?? null
  const insert = (from: number | null, to: number | null, missing: readonly string[]) => {
    low = keyBetween(low, span.orderKey)
    put({ orderKey: low, chain, from, to, gap: orNull(missing), hidden: false })
  }
  if (grows === 'up' && left) {
    // The span before takes what no gap cuts off; it is closed where the chain goes on elsewhere.
    const joins = pieces[0]!.missing.length === 0 ? pieces.shift()! : undefined
    const to = joins ? joins.to : (left.to ?? start - 1)
    const open = left.to === null && pieces.length === 0
    if (!open && left.to !== to) put((left = { ...left, to }))
  }
  if (grows === 'down') {
    // The piece next to the anchor joins its span, unless something is still missing between them.
    const joins = gap.length === 0 ? pieces.pop() : undefined
    for (const [at, piece] of pieces.entries())
      insert(at === 0 && span.from === null ? null : piece.from, piece.to, piece.missing)
    const closed = pieces.length > 0 || span.from !== null
    const from = closed ? (joins?.from ?? before.index) : null
    put({ ...span, from, gap: orNull(joins ? joins.missing : gap) })
    return
  }
  for (const [at, piece] of pieces.entries()) {
    const opensDown = grows === 'new' && at === 0
    const opensUp = piece.to === last && (grows === 'new' || previous!.to === null)
    insert(opensDown ? null : piece.from, opensUp ? null : piece.to, piece.missing)
  }
  if (gap.length !== (span.gap?.length ?? 0)) put({ ...span, gap: orNull(gap) })
}

const orNull = (gap: readonly string[]) => (gap.length > 0 ? gap : null)

/** Stretches of a run: each begins at the run's start, or behind a gap. */
function piecesOf(events: readonly LateEvent[], start: number) {
  const pieces: { from: number; to: number; missing: readonly string[] }[] = []
  for (const [offset, { missing }] of events.entries()) {
    const index = start + offset
    if (offset === 0 || missing.length > 0) pieces.push({ from: index, to: index, missing })
    else pieces.at(-1)!.to = index
  }
  return pieces
}

/** Makes a place the first of its span; the index of that span. */
export function splitBefore(list: SpanList, place: Place, put: (span: Span) => void): number {
  const at = spanAt(list, place)
  const span = list.spans[at]!
  const first = span.from ?? list.extent(span.chain)!.low
  if (place.index === first) return at
  const orderKey = keyBetween(span.orderKey, list.spans[at + 1]?.orderKey ?? null)
  put({ ...span, to: place.index - 1 })
  put({ ...span, orderKey, from: place.index, gap: null, afterImport: false })
  return at + 1
}

/** Wherever an event was missing, it is no more. */
function closeGaps(list: SpanList, { eventId, children }: LateEvent, put: (span: Span) => void) {
  for (const place of children) {
    const span = list.spans[spanAt(list, place)]!
    if (span.gap?.includes(eventId))
      put({ ...span, gap: orNull(span.gap.filter((id) => id !== eventId)) })
  }
}

import { expect } from 'bun:test'
import type { Span } from '#store/room/batch.ts'
import { placeLate, type LateEvent } from '#store/room/plan-late.ts'
import { openChain, openGap } from '#store/room/plan-spans.ts'
import { type Place, SpanList } from '#store/room/span-list.ts'

/** A room that lives in memory: what the engine does with plans, told without the engine. */
export class SpanRoom {
  readonly list = new SpanList()
  readonly placed = new Map<string, Place>()
  readonly missing = new Map<string, string[]>()
  live: { chain: number; next: number }
  #chains = 1
  /** Rows as the database would have them. */
  readonly rows = new Map<string, Span>()
  puts = 0

  constructor() {
    this.live = { chain: 1, next: 0 }
    this.put([openChain(null, 1, [])])
  }

  put(spans: readonly Span[]) {
    for (const span of spans) {
      this.list.put(span)
      this.rows.set(Buffer.from(span.orderKey).toString('hex'), span)
      this.puts++
    }
  }

  nextChain = () => ++this.#chains

  append(id: string, missing: string[] = []) {
    const index = this.live.next++
    if (missing.length) this.put(openGap(this.list.end(this.live.chain)!, index, missing))
    this.list.used(this.live.chain, index)
    this.placed.set(id, { chain: this.live.chain, index })
    this.cite(id, missing)
  }

  cite(id: string, missing: readonly string[]) {
    for (const cited of missing) this.missing.set(cited, [...(this.missing.get(cited) ?? []), id])
  }

  late(events: { id: string; cites?: string[]; depth?: number }[]) {
    const ids = new Set(events.map(({ id }) => id))
    const late = events.map(({ id, cites = [], depth = 0 }): LateEvent => ({
      eventId: id,
      depth,
      children: (this.missing.get(id) ?? []).flatMap((child) => this.placed.get(child) ?? []),
      lateChildren: events.filter((each) => each.cites?.includes(id)).map((each) => each.id),
      missing: cites.filter((cited) => !ids.has(cited) && !this.placed.has(cited)),
    }))
    const plan = placeLate(this.list, late, this.nextChain)
    this.put(plan.spans)
    for (const [id, place] of plan.places) {
      expect(this.placed.has(id)).toBeFalse()
      this.placed.set(id, place)
      this.missing.delete(id)
    }
    for (const { eventId, missing } of late)
      if (plan.places.has(eventId)) this.cite(eventId, missing)
    return plan
  }

  /** Everything in reading order, gaps in brackets. */
  read(hidden = false): string[] {
    const byPlace = new Map(
      Array.from(this.placed, ([id, { chain, index }]) => [`${chain} ${index}`, id]),
    )
    const rows = [...this.rows].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, span]) => span)
    expect(rows).toEqual(this.list.spans)
    return rows.flatMap((span) => {
      if (span.hidden && !hidden) return []
      const ids = [...this.placed.values()]
        .filter(
          ({ chain, index }) =>
            chain === span.chain &&
            index >= (span.from ?? -Infinity) &&
            index <= (span.to ?? Infinity),
        )
        .map(({ index }) => index)
        .sort((a, b) => a - b)
        .map((index) => byPlace.get(`${span.chain} ${index}`)!)
      return [...(span.gap ? [`[${span.gap.join()}]`] : []), ...ids]
    })
  }
}

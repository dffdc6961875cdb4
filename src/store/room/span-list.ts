import type { Sql } from '#store/db.ts'
import type { Span } from './batch.ts'

/** A place in the reading order: it never changes. */
export type Place = { chain: number; index: number }

/** The lowest and the highest index in use of a chain. */
export type Extent = { low: number; high: number }

export type SpanRow = {
  order_key: Uint8Array
  chain: number
  from_index: number | null
  to_index: number | null
  gap: string[] | null
  hidden: boolean
  after_import: boolean
  low: number | null
  high: number | null
  /** The chain is an import. */
  imported: boolean
  /** Both of its neighbours are among the rows. */
  settled: boolean
}

/**
 * The spans of a room in reading order, as far as they are needed: those around the places that were
 * asked for, ahead of the database by what is planned and not yet committed. Most rooms have one.
 */
export class SpanList {
  readonly spans: Span[] = []
  readonly #extents = new Map<number, Extent>()
  readonly #imports = new Set<number>()
  /** Keys of spans whose neighbours are in the list, too. */
  readonly #settled = new Set<string>()

  get size(): number {
    return this.spans.length
  }

  /** Takes rows in; what is in the list already is newer. */
  merge(rows: readonly SpanRow[]): void {
    for (const row of rows) {
      const at = this.#search(row.order_key)
      const known = this.spans[at]
      if (!known || compareKeys(known.orderKey, row.order_key) !== 0)
        this.spans.splice(at, 0, {
          orderKey: row.order_key,
          chain: row.chain,
          from: row.from_index,
          to: row.to_index,
          gap: row.gap,
          hidden: row.hidden,
          afterImport: row.after_import,
        })
      if (row.low !== null) this.used(row.chain, row.low)
      if (row.high !== null) this.used(row.chain, row.high)
      // Kept for what comes, where the span of the live chain is still empty.
      if (row.from_index !== null) this.used(row.chain, row.from_index)
      if (row.imported) this.#imports.add(row.chain)
      if (row.settled) this.#settled.add(keyText(row.order_key))
    }
  }

  /** Puts a span in, or in the place of the one with its key. Spans made here have known neighbours. */
  put(span: Span): void {
    const at = this.#search(span.orderKey)
    const known = this.spans[at]
    const replaces = known !== undefined && compareKeys(known.orderKey, span.orderKey) === 0
    this.spans.splice(at, replaces ? 1 : 0, span)
    this.#settled.add(keyText(span.orderKey))
  }

  /** The index of the span that holds a place; −1 if it is not in the list. */
  find({ chain, index }: Place): number {
    return this.spans.findIndex(
      (span) =>
        span.chain === chain &&
        (span.from === null || span.from <= index) &&
        (span.to === null || span.to >= index),
    )
  }

  /** Which of these places cannot be planned at before their surroundings are loaded. */
  unknown(places: readonly Place[]): Place[] {
    return places.filter((place) => {
      const span = this.spans[this.find(place)]
      return !span || !this.#settled.has(keyText(span.orderKey))
    })
  }

  /** The span in which a live chain goes on. */
  end(chain: number): Span | undefined {
    return this.spans.findLast((span) => span.chain === chain && span.to === null)
  }

  /** Live history never goes into the chain of an import: undoing that would take it away, too. */
  isImport(chain: number): boolean {
    return this.#imports.has(chain)
  }

  /** The chain of an import was published. */
  imported(chain: number): void {
    this.#imports.add(chain)
  }

  extent(chain: number): Extent | undefined {
    return this.#extents.get(chain)
  }

  /** An index of a chain is in use. */
  used(chain: number, index: number): void {
    const extent = this.#extents.get(chain)
    if (!extent) this.#extents.set(chain, { low: index, high: index })
    else {
      extent.low = Math.min(extent.low, index)
      extent.high = Math.max(extent.high, index)
    }
  }

  #search(key: Uint8Array): number {
    let low = 0
    let high = this.spans.length
    while (low < high) {
      const middle = (low + high) >>> 1
      if (compareKeys(this.spans[middle]!.orderKey, key) < 0) low = middle + 1
      else high = middle
    }
    return low
  }
}

/** An order key as a key of maps. */
export const keyText = (key: Uint8Array) =>
  Buffer.from(key.buffer, key.byteOffset, key.byteLength).toString('latin1')

export const compareKeys = (a: Uint8Array, b: Uint8Array): number => Buffer.compare(a, b)

/** The spans that hold these places, with their neighbours, in one statement. */
export async function around(
  sql: Sql,
  shard: number,
  roomNid: number,
  places: readonly Place[],
): Promise<SpanRow[]> {
  return sql<SpanRow[]>`
    with hit as materialized (
      select distinct s.order_key from unnest(
        ${places.map(({ chain }) => chain)}::bigint[], ${places.map(({ index }) => index)}::int[]
      ) as w (chain, index)
      join spans s on s.shard = ${shard} and s.chain = w.chain and s.room_nid = ${roomNid}
        and (s.from_index is null or s.from_index <= w.index)
        and (s.to_index is null or s.to_index >= w.index)
    ), near as (
      select order_key, true as settled from hit
      union all
      select (
        select order_key from spans s
        where s.shard = ${shard} and s.room_nid = ${roomNid} and s.order_key < hit.order_key
        order by s.order_key desc limit 1), false from hit
      union all
      select (
        select order_key from spans s
        where s.shard = ${shard} and s.room_nid = ${roomNid} and s.order_key > hit.order_key
        order by s.order_key limit 1), false from hit
    ), wanted as (
      select order_key, bool_or(settled) as settled from near
      where order_key is not null group by order_key
    )
    select s.order_key, s.chain, s.from_index, s.to_index, s.gap, s.hidden, s.after_import, w.settled,
      exists (
        select from import_chains i where i.shard = ${shard} and i.chain = s.chain) as imported,
      (select min(chain_index) from events e where e.shard = ${shard} and e.chain = s.chain) as low,
      (select max(chain_index) from events e where e.shard = ${shard} and e.chain = s.chain) as high
    from wanted w
    join spans s on s.shard = ${shard} and s.room_nid = ${roomNid} and s.order_key = w.order_key
    order by s.order_key`
}

/** The spans of one chain: to publish an import, or to undo it. */
export async function ofChain(
  sql: Sql,
  shard: number,
  roomNid: number,
  chain: number,
): Promise<Span[]> {
  const rows = await sql<Omit<SpanRow, 'low' | 'high' | 'imported' | 'settled'>[]>`
    select order_key, chain, from_index, to_index, gap, hidden, after_import from spans
    where shard = ${shard} and room_nid = ${roomNid} and chain = ${chain} order by order_key`
  return rows.map((row) => ({
    orderKey: row.order_key,
    chain: row.chain,
    from: row.from_index,
    to: row.to_index,
    gap: row.gap,
    hidden: row.hidden,
    afterImport: row.after_import,
  }))
}

import type { ImportChainChange, Span } from './batch.ts'
import { firstKey, keyBetween } from './order-key.ts'
import { splitBefore } from './plan-late.ts'
import type { Place, SpanList } from './span-list.ts'

/**
 * What changes in the spans of a room beside late events. A live event changes nothing: it takes the
 * next index of the live chain, whose last span is open.
 */

/** The first span of a room, or of a chain that begins behind all that is known: a join after an absence. */
export function openChain(
  last: Pick<Span, 'orderKey'> | null,
  chain: number,
  gap: readonly string[],
): Span {
  const orderKey = last ? keyBetween(last.orderKey, null) : firstKey
  return { orderKey, chain, from: null, to: null, gap: gap.length ? gap : null, hidden: false }
}

/**
 * A live event that cites what is missing: readers must learn of the gap before it, so it begins a
 * span. `live` is the span that the live chain ends in. The rows to put, the last one the new end.
 */
export function openGap(live: Span, index: number, gap: readonly string[]): Span[] {
  // A chain begins with index 0, in a span that is open towards older.
  if (index === (live.from ?? 0)) return [{ ...live, gap }]
  const orderKey = keyBetween(live.orderKey, null)
  return [
    { ...live, to: index - 1 },
    { orderKey, chain: live.chain, from: index, to: null, gap, hidden: false },
  ]
}

export type Publication = { spans: Span[]; importChain: ImportChainChange }

/**
 * Makes a staged chain readable, directly before a place or, without one, after all that is there;
 * the live chain then goes on behind it. A few rows, however long the chain.
 */
export function publish(
  list: SpanList,
  chain: number,
  before: Place | null,
  live: { span: Span; nextIndex: number },
  position: number,
): Publication {
  const spans = new Map<string, Span>()
  const put = (span: Span) => {
    list.put(span)
    spans.set(Buffer.from(span.orderKey).toString('latin1'), span)
  }
  const made = { chain, from: null, to: null, gap: null, hidden: false }
  if (before) {
    const at = splitBefore(list, before, put)
    const span = list.spans[at]!
    // What is missing before the place stays missing before it.
    const low = list.spans[at - 1]?.orderKey ?? null
    put({ ...made, orderKey: keyBetween(low, span.orderKey) })
    put({ ...span, afterImport: true })
  } else {
    const end = { ...live.span, to: live.nextIndex - 1 }
    const orderKey = keyBetween(live.span.orderKey, null)
    put(end)
    put({ ...made, orderKey })
    put({
      ...made,
      chain: live.span.chain,
      from: live.nextIndex,
      orderKey: keyBetween(orderKey, null),
      afterImport: true,
    })
  }
  return {
    spans: [...spans.values()],
    importChain: { chain, publishedAt: position, hiddenAt: null },
  }
}

/** Undoes a publication: all spans of the chain are passed over from now on. Tokens inside still resolve. */
export function hide(
  spansOfChain: readonly Span[],
  importChain: ImportChainChange,
  position: number,
): Publication {
  return {
    spans: spansOfChain.map((span) => ({ ...span, hidden: true })),
    importChain: { ...importChain, hiddenAt: position },
  }
}

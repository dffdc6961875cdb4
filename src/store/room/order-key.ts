/**
 * Keys of the reading order: bytes that sort as fractions between 0 and 1, so that there is always
 * room between two neighbours. None ends in a zero byte, which would leave no room before it.
 */
export const firstKey: Uint8Array = Uint8Array.of(0x80)

/** A key between two others; null stands for either end. Ends grow slowly, also after many appends. */
export function keyBetween(low: Uint8Array | null, high: Uint8Array | null): Uint8Array {
  const digits: number[] = []
  let bounded = high !== null
  for (let index = 0; ; index++) {
    const from = low?.[index] ?? 0
    const to = bounded ? (high![index] ?? 0) : 256
    if (bounded && to < from) throw new Error('the keys are in the wrong order')
    if (to - from > 1) {
      // Towards an open end by small steps: most new spans are appended.
      const step = low === null || high === null ? 1 : (to - from) >> 1
      digits.push(high === null ? from + step : to - Math.max(1, Math.min(step, to - from - 1)))
      return Uint8Array.from(digits)
    }
    digits.push(from)
    // Past a difference the upper bound no longer counts.
    if (to > from) bounded = false
    if (index > 10_000) throw new Error('there is no room between the keys')
  }
}

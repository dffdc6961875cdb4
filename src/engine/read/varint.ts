/** Seven bits a byte, lowest first; positions may pass 2^32, which is all that bit operators know. */
export function writeVarint(bytes: number[], value: number): void {
  while (value >= 0x8000_0000) {
    bytes.push((value % 0x80) + 0x80)
    value = Math.floor(value / 0x80)
  }
  // The rest of a division of such numbers takes many times as long, and each token has a hundred.
  let left = value | 0
  while (left >= 0x80) {
    bytes.push((left & 0x7f) | 0x80)
    left >>>= 7
  }
  bytes.push(left)
}

/** Reads what `writeVarint` wrote, out of bytes from outside. */
export class Reader {
  readonly #bytes: Uint8Array
  #at = 0

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes
  }

  get atEnd(): boolean {
    return this.#at === this.#bytes.length
  }

  byte(): number | undefined {
    return this.#bytes[this.#at++]
  }

  /** Undefined at the end, and for a number that is not safe. */
  varint(): number | undefined {
    let value = 0
    for (let factor = 1; factor <= 2 ** 49; factor *= 0x80) {
      const byte = this.byte()
      if (byte === undefined) return undefined
      value += (byte & 0x7f) * factor
      if (byte < 0x80) return value <= Number.MAX_SAFE_INTEGER ? value : undefined
    }
    return undefined
  }
}

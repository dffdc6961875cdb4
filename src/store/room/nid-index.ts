/** A map from event numbers to small numbers in two flat arrays: a fifth of what a `Map` takes. */
export class NidIndex {
  #keys = new Float64Array(128)
  #values = new Int32Array(128)
  #size = 0

  get bytes(): number {
    return this.#keys.byteLength + this.#values.byteLength
  }

  /** −1 if it is not there. Event numbers are never 0, which marks a free place. */
  get(nid: number): number {
    const at = place(this.#keys, nid)
    return this.#keys[at] === nid ? this.#values[at]! : -1
  }

  set(nid: number, value: number): void {
    if (2 * (this.#size + 1) > this.#keys.length) this.#grow()
    const at = place(this.#keys, nid)
    if (this.#keys[at] === 0) this.#size++
    this.#keys[at] = nid
    this.#values[at] = value
  }

  #grow(): void {
    const [keys, values] = [this.#keys, this.#values]
    this.#keys = new Float64Array(2 * keys.length)
    this.#values = new Int32Array(2 * keys.length)
    for (let at = 0; at < keys.length; at++) {
      const key = keys[at]!
      if (key === 0) continue
      const to = place(this.#keys, key)
      this.#keys[to] = key
      this.#values[to] = values[at]!
    }
  }
}

/** Where a number is, or would be put. The length of the array is a power of two. */
function place(keys: Float64Array, nid: number): number {
  const mask = keys.length - 1
  const high = Math.floor(nid / 0x1_0000_0000)
  let at = Math.imul((nid >>> 0) ^ Math.imul(high, 0x85ebca6b), 0x9e3779b1)
  at = (at ^ (at >>> 15)) & mask
  while (keys[at] !== 0 && keys[at] !== nid) at = (at + 1) & mask
  return at
}

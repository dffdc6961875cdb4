const quote = 0x22
const backslash = 0x5c
const newline = 0x0a
const largestValue = 64 * 1024 * 1024

/** A window over bytes of JSON that come in pieces: finds where values end, without reading them. */
export class JsonBytes {
  /** Where in the file the window stands, counted in bytes and lines (from 1). */
  get offset(): number {
    return this.#dropped + this.#at
  }
  get line(): number {
    return this.#lines
  }

  readonly #chunks: AsyncIterator<Uint8Array>
  /** What the window lies in, from its start. */
  #room: Uint8Array = new Uint8Array(0)
  #window: Uint8Array = new Uint8Array(0)
  #at = 0
  #dropped = 0
  #lines = 1
  /** Up to where in the window lines are counted. */
  #counted = 0
  #ended = false
  #marked = 0

  constructor(chunks: AsyncIterable<Uint8Array>) {
    this.#chunks = chunks[Symbol.asyncIterator]()
  }

  /** Lets go of where the bytes come from. */
  async close(): Promise<void> {
    await this.#chunks.return?.()
  }

  /** The next byte that is no white space, which is not taken; -1 at the end. */
  async peek(): Promise<number> {
    for (;;) {
      for (; this.#at < this.#window.length; this.#at++) {
        const byte = this.#window[this.#at]!
        if (byte > 0x20) {
          this.#countTo(this.#at)
          return byte
        }
      }
      if (!(await this.#fill(this.#at))) return -1
    }
  }

  /** Takes one byte. */
  skip(): void {
    this.#at++
  }

  /** Remembers this place, to come back to it if the value that begins here turns out to be broken. */
  mark(): void {
    this.#marked = this.offset
  }

  /** Back to the byte behind the mark. What the window holds since is read again. */
  backToMark(): void {
    this.#at = this.#marked - this.#dropped + 1
  }

  /** The first bytes behind the mark, right after going back there. */
  fromMark(size: number): Uint8Array {
    return this.#window.slice(this.#at - 1, this.#at - 1 + size)
  }

  /**
   * The bytes of the value that begins here. Undefined if the file ends within it, or if it is larger
   * than any record may be. Valid until the next call.
   */
  async value(): Promise<Uint8Array | undefined> {
    const first = this.#window[this.#at]!
    const nested = first === 0x7b || first === 0x5b
    let depth = 0
    let inString = false
    let start = this.#at
    let at = this.#at
    for (;;) {
      const window = this.#window
      for (; at < window.length; at++) {
        const byte = window[at]!
        if (inString) {
          if (byte === backslash) at++
          else if (byte === quote) {
            inString = false
            if (depth === 0) return this.#take(start, at + 1)
          }
          continue
        }
        if (byte === quote) inString = true
        else if (byte === 0x7b || byte === 0x5b) depth++
        else if (byte === 0x7d || byte === 0x5d) {
          depth--
          if (depth === 0 && nested) return this.#take(start, at + 1)
          // The end of what holds it: a number or a word ends here, and an empty place is one byte wide.
          if (depth < 0) return this.#take(start, Math.max(at, start + 1))
        } else if (depth === 0 && (byte === 0x2c || byte <= 0x20)) {
          return this.#take(start, Math.max(at, start + 1))
        }
      }
      const moved = at - start
      if (moved > largestValue || !(await this.#fill(start))) return undefined
      at = this.#at + moved
      start = this.#at
    }
  }

  /** Goes to the next place that begins like this; false, and to the end, if there is none. */
  async seek(beginning: Uint8Array | undefined): Promise<boolean> {
    if (!beginning) {
      while (await this.#fill(this.#window.length));
      this.#at = this.#window.length
      return false
    }
    for (;;) {
      const found = Buffer.from(
        this.#window.buffer,
        this.#window.byteOffset,
        this.#window.length,
      ).indexOf(beginning, this.#at)
      if (found >= 0) {
        this.#at = found
        this.#countTo(found)
        return true
      }
      const from = Math.max(this.#at, this.#window.length - beginning.length)
      if (!(await this.#fill(from))) {
        this.#at = this.#window.length
        return false
      }
    }
  }

  #take(start: number, end: number): Uint8Array {
    this.#at = end
    return this.#window.subarray(start, end)
  }

  #countTo(at: number): void {
    if (at <= this.#counted) return
    const span = this.#window.subarray(this.#counted, at)
    for (let found = span.indexOf(newline); found >= 0; found = span.indexOf(newline, found + 1))
      this.#lines++
    this.#counted = at
  }

  /** Adds a piece to the window, and lets go what lies before `keep`. */
  async #fill(keep: number): Promise<boolean> {
    if (this.#ended) return false
    const next = await this.#chunks.next()
    if (next.done) {
      this.#ended = true
      return false
    }
    this.#countTo(keep)
    const rest = this.#window.length - keep
    const length = rest + next.value.length
    if (this.#room.length < this.#window.length + next.value.length) {
      // Twice as much as is needed, so that a long value is not copied once for every piece of it.
      const room = new Uint8Array(length * 2)
      room.set(this.#window.subarray(keep))
      this.#room = room
      this.#dropped += keep
      this.#counted -= keep
      this.#at = 0
      this.#window = room.subarray(0, rest)
    } else this.#at = keep
    const used = this.#window.length
    this.#room.set(next.value, used)
    this.#window = this.#room.subarray(0, used + next.value.length)
    return true
  }
}

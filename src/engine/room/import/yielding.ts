import { InTurn } from '#engine/room/import/steps.ts'

/** Records of a transaction: when nobody sends anything, and beside people who do. */
const mostAlone = 500
const mostBeside = 200
/** People send if somebody did within this time. */
const recentMs = 1_000
/** What a send may take beside an import, in times of the slowest few that had the worker to themselves. */
const bearable = 1.5
/** Sends alone that are remembered, of which this many are slower than what they are known by. */
const remembered = 64
const slower = 1
/** Before so many were seen, or when the last is this old, pauses are such that there will be some. */
const enough = 8
const staleMs = 10_000
const learningMs = 100
/** A send so soon behind a piece of an import still feels it. */
const settlingMs = 5
const leastPauseMs = 4
const mostPauseMs = 250
/** One send in seventy may be too slow before pauses grow. */
const longer = 2
const shorter = 0.99

export type YieldingOptions = { clock?: () => number; sleep?: (ms: number) => Promise<void> }

/** What a piece of an import leaves under way: its transaction. */
type Piece = (most: number) => Promise<{ flying: Promise<void> | undefined }>

/** A send that is under way: alone, if no piece was in hand when it began. */
type Sending = { began: number; pieces: number; isAlone: boolean }

/**
 * How the imports of a worker make way for people who send. As long as nobody does they go as fast as they can.
 * Else one of them at a time makes a small piece, its transaction ends, and a pause follows, in which sends have
 * the worker to themselves. What those take is what is normal here: a send beside a piece that takes more
 * than `bearable` times that doubles the pause, each that does not takes a hundredth off it. So nobody has to
 * know at which rate others do not feel an import, and a busy hour is none of a quiet night. There is an end to
 * pauses: imports always go on.
 */
export class Yielding {
  /** Transactions of imports: one is under way, so that connections are left for all else. */
  readonly writes = new InTurn()
  /** Between two pieces, at present. */
  pauseMs = 0
  /** All pauses together. */
  pausedMs = 0
  readonly #clock: () => number
  readonly #sleep: (ms: number) => Promise<void>
  #lastSent = -Infinity
  #inHand = 0
  /** Pieces that were begun. */
  #pieces = 0
  #lastPiece = -Infinity
  readonly #alone: number[] = []
  #lastAlone = -Infinity
  #turn: Promise<unknown> = Promise.resolve()

  constructor({ clock = () => performance.now(), sleep = Bun.sleep }: YieldingOptions = {}) {
    this.#clock = clock
    this.#sleep = sleep
  }

  /** Whether people send at present. */
  get isAsked(): boolean {
    return this.#clock() - this.#lastSent < recentMs
  }

  /** What a send takes that has the worker to itself, in ms; undefined as long as too few are known. */
  get aloneMs(): number | undefined {
    if (this.#alone.length < enough) return undefined
    return this.#alone.toSorted((a, b) => b - a)[slower]
  }

  /** Somebody sends something, and waits for it. */
  async watch<T>(send: () => Promise<T>): Promise<T> {
    const sending = this.#begin()
    try {
      return await send()
    } finally {
      this.#end(sending)
    }
  }

  #begin(): Sending {
    const began = this.#clock()
    this.#lastSent = began
    const isAlone = this.#inHand === 0 && began - this.#lastPiece >= settlingMs
    return { began, pieces: this.#pieces, isAlone }
  }

  #end({ began, pieces, isAlone }: Sending): void {
    const now = this.#clock()
    const tookMs = now - began
    if (isAlone && pieces === this.#pieces) {
      this.#lastAlone = now
      this.#alone.push(tookMs)
      if (this.#alone.length > remembered) this.#alone.shift()
      return
    }
    const { aloneMs } = this
    if (aloneMs === undefined) return
    if (tookMs > bearable * aloneMs)
      this.pauseMs = Math.min(Math.max(this.pauseMs * longer, leastPauseMs), mostPauseMs)
    else this.pauseMs = this.pauseMs * shorter < leastPauseMs / 2 ? 0 : this.pauseMs * shorter
  }

  /** Lets an import make its next piece, of at most so many records. */
  async run(piece: Piece): Promise<void> {
    if (!this.isAsked) {
      this.pauseMs *= shorter
      await this.#make(piece, mostAlone)
      return
    }
    const before = this.#turn
    const { promise, resolve } = Promise.withResolvers<void>()
    this.#turn = promise
    await before
    try {
      await this.#pause()
      const { ended } = await this.#make(piece, mostBeside)
      await ended
    } finally {
      resolve()
    }
  }

  /** Makes a piece; the answer is when its transaction has ended, in whatever way. */
  async #make(piece: Piece, most: number): Promise<{ ended: Promise<void> }> {
    this.#inHand++
    this.#pieces++
    const done = () => {
      this.#inHand--
      this.#lastPiece = this.#clock()
    }
    try {
      const { flying = Promise.resolve() } = await piece(most)
      return { ended: flying.then(done, done) }
    } catch (error) {
      done()
      throw error
    }
  }

  async #pause(): Promise<void> {
    const isLearning = this.aloneMs === undefined || this.#clock() - this.#lastAlone > staleMs
    const ms = isLearning ? Math.max(learningMs, this.pauseMs) : this.pauseMs
    if (ms === 0) return
    const began = this.#clock()
    await this.#sleep(ms)
    this.pausedMs += this.#clock() - began
  }
}

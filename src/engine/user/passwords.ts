import { unavailable } from '#core/error.ts'

export type PasswordCost = { memoryKib: number; iterations: number }

/** Hashing takes tens of MiB and milliseconds each: few at once, and not too many in line. */
const maxAtOnce = 2
const maxWaiting = 200

/** Hashes and checks passwords in the background threads of Bun, argon2id. */
export class Passwords {
  readonly #cost: PasswordCost
  readonly #waiting: (() => void)[] = []
  #running = 0
  #decoy: Promise<string> | undefined

  constructor(cost: PasswordCost) {
    this.#cost = cost
  }

  /** Those that wait for their turn. */
  get waiting(): number {
    return this.#waiting.length
  }

  hash(password: string): Promise<string> {
    return this.#inTurn(() =>
      Bun.password.hash(password, {
        algorithm: 'argon2id',
        memoryCost: this.#cost.memoryKib,
        timeCost: this.#cost.iterations,
      }),
    )
  }

  /**
   * Whether a password is the one of this hash. Without a hash the answer is no, and takes as long:
   * the time shall not tell whether there is such an account.
   */
  async verify(password: string, hash: string | null | undefined): Promise<boolean> {
    const known = hash ?? (await (this.#decoy ??= this.hash(crypto.randomUUID())))
    const fits = await this.#inTurn(() => Bun.password.verify(password, known))
    return fits && typeof hash === 'string'
  }

  async #inTurn<T>(work: () => Promise<T>): Promise<T> {
    if (this.#running >= maxAtOnce) {
      if (this.#waiting.length >= maxWaiting) throw unavailable('Too many logins at once', 2000)
      await new Promise<void>((resolve) => this.#waiting.push(resolve))
    } else this.#running++
    try {
      return await work()
    } finally {
      const next = this.#waiting.shift()
      if (next) next()
      else this.#running--
    }
  }
}

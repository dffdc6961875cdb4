import type { Pool } from '#store/db.ts'
import * as follow from '#store/event-index/follow.ts'

/** Events of a chain that are indexed in one transaction, and chains that are walked in turns. */
const perStep = 500
const atOnce = 16
/** A chain of so many changes the tables enough for the planner to be told. */
const many = 1_000

/**
 * Walks the chains of imports that were published, and indexes their events; those of imports that were
 * undone are taken out of the index again. In steps, so that what is new goes on being indexed between.
 */
export class ImportIndex {
  readonly #sql: Pool
  readonly #types: readonly string[]
  readonly #index: (found: readonly follow.Candidate[]) => follow.Indexed
  #running: Promise<void> | undefined
  #stopped = false

  constructor(
    sql: Pool,
    types: readonly string[],
    index: (found: readonly follow.Candidate[]) => follow.Indexed,
  ) {
    this.#sql = sql
    this.#types = types
    this.#index = index
  }

  /** Begins, if there is something to do and it is not being done. */
  run(onError: (error: unknown) => void): void {
    if (this.#stopped) return
    this.#running ??= this.#walk()
      .catch((error: unknown) => {
        if (!this.#stopped) onError(error)
      })
      .finally(() => {
        this.#running = undefined
      })
  }

  async stop(): Promise<void> {
    this.#stopped = true
    await this.#running
  }

  async #walk(): Promise<void> {
    for (;;) {
      const chains = await follow.chains(this.#sql, atOnce)
      if (chains.length === 0) return
      for (const chain of chains) {
        if (this.#stopped) return
        await this.#step(chain)
      }
    }
  }

  async #step(mark: follow.ChainMark): Promise<void> {
    const next = await follow.nextInChain(this.#sql, mark, perStep)
    const found =
      mark.dropping || next.nids.length === 0
        ? []
        : await follow.candidatesOf(this.#sql, mark.shard, next.nids, this.#types)
    await follow.writeChain(this.#sql, mark, next, this.#index(found))
    if (next.last === null && !mark.dropping && mark.after > many) await follow.analyze(this.#sql)
  }
}

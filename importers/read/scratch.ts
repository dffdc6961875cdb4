import { Database } from 'bun:sqlite'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

/**
 * A table on disk for what a format has to look up while it reads and what may be too large for memory.
 * It is gone when it is disposed of; nothing of it has to live through a crash.
 */
export class Scratch implements Disposable {
  readonly db: Database
  readonly #folder: string

  constructor(schema: string) {
    this.#folder = mkdtempSync(join(tmpdir(), 'laneway-import-'))
    this.db = new Database(join(this.#folder, 'scratch.db'), { strict: true })
    this.db.run('pragma journal_mode = off')
    this.db.run('pragma synchronous = off')
    this.db.run('pragma locking_mode = exclusive')
    this.db.run(schema)
    // One transaction for good: nothing is ever kept.
    this.db.run('begin')
  }

  [Symbol.dispose](): void {
    this.db.close()
    rmSync(this.#folder, { recursive: true, force: true })
  }
}

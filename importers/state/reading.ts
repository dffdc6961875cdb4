import type { Database } from 'bun:sqlite'
import type { Format, ReadOptions } from '#importers/format.ts'
import type { Source } from '#importers/source.ts'
import { Changes } from './changes.ts'
import { Meta } from './database.ts'
import { Ledger } from './ledger.ts'
import type { Problems } from './problems.ts'
import { resolve } from './resolve.ts'
import { Spool } from './spool.ts'

export type ReadProgress = (records: number, bytes: number) => void

/** How many bytes are read of an export, all passes together. */
export function bytesToRead({ entries }: Source, { passes = 1 }: Format): number {
  return entries.reduce((sum, { size }) => sum + size, 0) * passes
}

const toldEvery = 4 * 1024 * 1024

/** Counts what is read of an export: of each file as often as it is read whole, and no part of that twice. */
class Counted {
  bytes = 0
  readonly source: Source
  /** By the names of files: how far each pass over it came. */
  readonly #passes = new Map<string, { begun: number; ends: number[] }>()

  readonly #onBytes: () => void
  #told = 0

  constructor(source: Source, passes: number, onBytes: () => void) {
    this.#onBytes = onBytes
    this.source = {
      ...source,
      open: (name) => this.#count(name, passes, source.open(name)),
    }
  }

  async *#count(
    name: string,
    passes: number,
    chunks: AsyncIterable<Uint8Array>,
  ): AsyncGenerator<Uint8Array> {
    const file = this.#passes.get(name) ?? { begun: 0, ends: Array<number>(passes).fill(0) }
    this.#passes.set(name, file)
    const pass = Math.min(file.begun++, passes - 1)
    let at = 0
    for await (const chunk of chunks) {
      at += chunk.length
      this.bytes += Math.max(at - file.ends[pass]!, 0)
      file.ends[pass] = Math.max(at, file.ends[pass]!)
      // A format may read much before it has anything to say.
      if (this.bytes - this.#told > toldEvery) {
        this.#told = this.bytes
        this.#onBytes()
      }
      yield chunk
    }
  }
}

/** What tells an export from another, or from a newer one of the same chat. */
export function fingerprint(source: Source, format: string): string {
  const hash = new Bun.CryptoHasher('sha256')
  hash.update(`${format}\0${source.path}`)
  for (const { name, size } of source.entries) hash.update(`\0${name}\0${size}`)
  return hash.digest('hex')
}

export type Reading = {
  source: Source
  format: Format
  options: ReadOptions
  /** Whether what changed of records that are known is brought too (`--update`). */
  update?: boolean
}

/**
 * Reads an export into the state, once: a second time it is known. A newer one adds what is new; one whose
 * reading was broken off is read again. Of records that were known, `changed` are otherwise now.
 */
export async function readExport(
  db: Database,
  problems: Problems,
  { source, format, options, update = false }: Reading,
  onProgress: ReadProgress = () => undefined,
): Promise<{ isNew: boolean; records: number; changed: number }> {
  const meta = new Meta(db)
  const print = fingerprint(source, format.name)
  // Two exports of one size may differ: who asks for what changed has it read.
  if (!update && meta.get('read') === print) return { isNew: false, records: 0, changed: 0 }
  const known = Number(meta.get('known') ?? 0)
  forgetHalf(db, known)
  problems.again('read')
  const changes = new Changes(db, update)
  const spool = new Spool(db, problems, known, { changes })
  const tell = () => onProgress(spool.records, counted.bytes)
  const counted = new Counted(source, format.passes ?? 1, tell)
  const context = {
    options,
    problem: (problem: Parameters<Spool['problem']>[0]) => spool.problem(problem),
  }
  try {
    let told = 0
    for await (const item of format.read(counted.source, context)) {
      spool.add(item)
      if (++told % 2000 === 0) tell()
    }
  } finally {
    spool.flush()
  }
  tell()
  resolve(db, problems, known)
  db.transaction(() => {
    meta.set('known', String(new Ledger(db).lastSeq()))
    meta.set('read', print)
  })()
  return { isNew: true, records: spool.records, changed: changes.found }
}

/** Takes back a reading that did not come to its end. */
function forgetHalf(db: Database, known: number): void {
  const { changes } = db.query('delete from record where seq > ?').run(known)
  if (changes > 0) recount(db)
}

/** Takes back everything that was read and not published, to be read again. */
export function forgetUnsent(db: Database): void {
  const meta = new Meta(db)
  db.run('delete from record where session is null')
  recount(db)
  new Ledger(db).forgetMissing()
  meta.set('known', String(new Ledger(db).lastSeq()))
  meta.set('read', '')
}

function recount(db: Database): void {
  db.transaction(() => {
    db.run('delete from tally')
    db.run(
      `insert into tally
       select room, json_extract(json, '$.sender'), kind, count(*), min(time), max(time)
       from record group by 1, 2, 3`,
    )
  })()
}

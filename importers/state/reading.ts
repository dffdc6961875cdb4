import type { Database } from 'bun:sqlite'
import type { Format, ReadOptions } from '#importers/format.ts'
import type { Source } from '#importers/source.ts'
import { Meta } from './database.ts'
import { Ledger } from './ledger.ts'
import type { Problems } from './problems.ts'
import { resolve } from './resolve.ts'
import { Spool } from './spool.ts'

export type ReadProgress = (records: number, bytes: number, total: number) => void

/** What tells an export from another, or from a newer one of the same chat. */
export function fingerprint(source: Source, format: string): string {
  const hash = new Bun.CryptoHasher('sha256')
  hash.update(`${format}\0${source.path}`)
  for (const { name, size } of source.entries) hash.update(`\0${name}\0${size}`)
  return hash.digest('hex')
}

/**
 * Reads an export into the state, once: a second time it is known. A newer one adds what is new; one whose
 * reading was broken off is read again.
 */
export async function readExport(
  db: Database,
  problems: Problems,
  { source, format, options }: { source: Source; format: Format; options: ReadOptions },
  onProgress: ReadProgress = () => undefined,
): Promise<{ isNew: boolean; records: number }> {
  const meta = new Meta(db)
  const print = fingerprint(source, format.name)
  if (meta.get('read') === print) return { isNew: false, records: 0 }
  const known = Number(meta.get('known') ?? 0)
  forgetHalf(db, known)
  problems.again('read')
  const total = source.entries.reduce((sum, { size }) => sum + size, 0)
  let bytes = 0
  const counted: Source = {
    ...source,
    async *open(name) {
      for await (const chunk of source.open(name)) {
        bytes += chunk.length
        yield chunk
      }
    },
  }
  const spool = new Spool(db, problems, known)
  const context = {
    options,
    problem: (problem: Parameters<Spool['problem']>[0]) => spool.problem(problem),
  }
  try {
    let told = 0
    for await (const item of format.read(counted, context)) {
      spool.add(item)
      if (++told % 2000 === 0) onProgress(spool.records, bytes, total)
    }
  } finally {
    spool.flush()
  }
  onProgress(spool.records, bytes, total)
  resolve(db, problems, known)
  db.transaction(() => {
    meta.set('known', String(new Ledger(db).lastSeq()))
    meta.set('read', print)
  })()
  return { isNew: true, records: spool.records }
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

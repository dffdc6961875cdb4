import type { Database } from 'bun:sqlite'
import type { Format } from '#importers/format.ts'
import { grouped } from '#importers/report/progress.ts'
import type { Source } from '#importers/source.ts'
import type { Problems } from '#importers/state/problems.ts'
import { readExport } from '#importers/state/reading.ts'
import { type Console, progressOn } from './console.ts'

/** Reads an export into the state, and tells how far it is. */
export async function readInto(
  db: Database,
  problems: Problems,
  { source, format, tz }: { source: Source; format: Format; tz: string | undefined },
  console: Console,
): Promise<void> {
  const progress = progressOn(console)
  const size = source.entries.reduce((sum, each) => sum + each.size, 0)
  const track = progress.begin('reading', size, 'bytes')
  try {
    const options = tz === undefined ? {} : { timezone: tz }
    const { isNew, records } = await readExport(
      db,
      problems,
      { source, format, options },
      (read, bytes) => {
        track.done = bytes
        track.note = `${grouped(read)} records`
        console.stop.throwIfAborted()
      },
    )
    track.done = size
    track.note = isNew ? `${grouped(records)} records are new` : 'read before'
  } finally {
    progress.end(track)
    progress.stop()
  }
}

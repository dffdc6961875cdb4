import type { Database } from 'bun:sqlite'
import type { Format } from '#importers/format.ts'
import { grouped } from '#importers/report/progress.ts'
import type { Source } from '#importers/source.ts'
import type { Problems } from '#importers/state/problems.ts'
import { bytesToRead, readExport } from '#importers/state/reading.ts'
import { type Console, progressOn, stopReading } from './console.ts'

export type Wanted = {
  source: Source
  format: Format
  tz: string | undefined
  update?: boolean
}

/** Reads an export into the state, and tells how far it is. */
export async function readInto(
  db: Database,
  problems: Problems,
  { source, format, tz, update = false }: Wanted,
  console: Console,
): Promise<void> {
  const progress = progressOn(console)
  const size = bytesToRead(source, format)
  const track = progress.begin('reading', size, 'bytes')
  try {
    const options = tz === undefined ? {} : { timezone: tz }
    const { isNew, records, changed } = await readExport(
      db,
      problems,
      { source, format, options, update },
      (read, bytes) => {
        track.done = bytes
        track.note = `${grouped(read)} records`
        stopReading(console)
      },
    )
    track.done = size
    track.note = isNew ? `${grouped(records)} records are new` : 'read before'
    if (changed > 0 && !update)
      progress.say(
        `${grouped(changed)} messages were edited, deleted or reacted to since the last export: --update brings that`,
        { changed },
      )
  } finally {
    progress.end(track)
    progress.stop()
  }
}

import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { formatOf } from '#importers/formats.ts'
import { titleOf } from '#importers/plan/titles.ts'
import { doneText } from '#importers/report/problems-report.ts'
import { grouped } from '#importers/report/progress.ts'
import { openSource } from '#importers/source/open.ts'
import { openState } from '#importers/state/database.ts'
import { Ledger } from '#importers/state/ledger.ts'
import { placeText, Problems } from '#importers/state/problems.ts'
import { bytesToRead, readExport } from '#importers/state/reading.ts'
import { type Console, type Exit, exit, progressOn, stopReading } from './console.ts'

export type InspectOptions = { format: string; tz?: string }

const mostRooms = 200
const mostProblems = 20

/** Says what is in an export; no server is needed. */
export async function inspect(
  path: string,
  { format: wanted, tz }: InspectOptions,
  console: Console,
): Promise<Exit> {
  // On disk, as the export may be larger than memory.
  const folder = await mkdtemp(join(tmpdir(), 'laneway-inspect-'))
  const db = openState(folder)
  const problems = new Problems(db)
  const source = await openSource(path, (problem) => problems.add('send', problem))
  try {
    const { format, why } = await formatOf(source, wanted)
    if (!console.json) console.write(`${format.title}, because ${why}`)
    const progress = progressOn(console)
    const size = bytesToRead(source, format)
    const track = progress.begin('reading', size, 'bytes')
    try {
      const options = tz === undefined ? {} : { timezone: tz }
      await readExport(db, problems, { source, format, options }, (records, bytes) => {
        track.done = bytes
        track.note = `${grouped(records)} records`
        stopReading(console)
      })
      track.done = size
    } finally {
      progress.end(track)
      progress.stop()
    }
    tell(console, format.name, new Ledger(db), problems)
    return problems.skipped > 0 ? exit.skipped : exit.clean
  } finally {
    await source.close()
    db.close()
    await rm(folder, { recursive: true, force: true })
  }
}

function tell(console: Console, format: string, ledger: Ledger, problems: Problems): void {
  const counts = new Map(ledger.roomCounts().map((each) => [each.number, each]))
  const rooms = ledger.rooms().map((room) => {
    const {
      number,
      records = 0,
      messages = 0,
      people = 0,
      first,
      last,
    } = counts.get(room.number) ?? { number: room.number }
    return {
      number,
      id: room.id,
      name: titleOf(room, ledger),
      type: room.type,
      records,
      messages,
      people,
      first,
      last,
    }
  })
  const kinds = ledger.kindCounts()
  let writers = 0
  for (const _ of ledger.writers()) writers++
  if (console.json) {
    const told = { format, rooms, kinds, people: writers, problems: problems.counts() }
    console.write(JSON.stringify({ event: 'inspected', ...told }))
    return
  }
  const total = kinds.map(({ kind, count }) => `${grouped(count)} ${kind}s`).join(', ')
  console.write(
    `${grouped(rooms.length)} rooms, ${grouped(writers)} people who wrote, ${total || 'no records'}`,
  )
  rooms.sort((one, other) => other.messages - one.messages)
  for (const { id, name, type, messages, people, first, last } of rooms.slice(0, mostRooms)) {
    const span = first === undefined ? '' : `, ${dayOf(first)} to ${dayOf(last ?? first)}`
    const kind = type ? ` (${type})` : ''
    console.write(
      `  ${name ?? id}${kind}: ${grouped(messages)} messages of ${grouped(people)} people${span}`,
    )
  }
  if (rooms.length > mostRooms) console.write(`  and ${grouped(rooms.length - mostRooms)} more`)
  tellProblems(console, problems)
}

/** What went wrong: counts, and the first of it. */
export function tellProblems(console: Console, problems: Problems): void {
  const counts = problems.counts()
  if (counts.length === 0) return
  console.write('Problems:')
  for (const { class: what, done, count } of counts)
    console.write(`  ${what}: ${grouped(count)} ${doneText[done]}`)
  let told = 0
  for (const problem of problems.all()) {
    if (problem.done === 'left_out') continue
    if (++told > mostProblems) break
    console.write(`  ${placeText(problem)}: ${problem.reason}`)
  }
}

const dayOf = (time: number) => new Date(time).toISOString().slice(0, 10)

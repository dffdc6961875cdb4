import { join } from 'node:path'
import type { Database } from 'bun:sqlite'
import { formats } from '#importers/formats.ts'
import { People, type PeopleMode } from '#importers/matrix/people.ts'
import { type Plan, type PlannedRoom, readPlan } from '#importers/plan/plan.ts'
import { writeReports } from '#importers/report/problems-report.ts'
import { grouped, timeText } from '#importers/report/progress.ts'
import type { Mode } from '#importers/server/import-api.ts'
import { Uploader } from '#importers/server/media.ts'
import type { Source } from '#importers/source.ts'
import { openSource } from '#importers/source/open.ts'
import { Meta, openState, stateFolder } from '#importers/state/database.ts'
import { Ledger } from '#importers/state/ledger.ts'
import { Problems } from '#importers/state/problems.ts'
import { forgetUnsent } from '#importers/state/reading.ts'
import { Stop } from '#importers/stop.ts'
import { connect, type Connection, type Credentials, largestUpload } from './connect.ts'
import { type Console, type Exit, exit, progressOn } from './console.ts'
import { tellProblems } from './inspect.ts'
import { lockState } from './lock.ts'
import { Pace } from './pace.ts'
import { readInto } from './read-into.ts'
import { summaryOf } from './summary.ts'
import { rehearseRoom, type Work } from './rehearse.ts'
import { RoomRun, type RoomParts } from './room-run.ts'

export type RunOptions = Credentials & {
  dryRun?: boolean
  rooms?: string
  since?: number
  until?: number
  jobs: number
  rate?: number
  media: boolean
  users?: PeopleMode
  mode?: Mode
  federate?: boolean
  moves?: boolean
  privateHosts?: boolean
  restart?: boolean
  update?: boolean
  maxSkips?: number
}

/** Imports what a plan says. Running it again goes on, and brings what is new in the export. */
export async function run(planPath: string, options: RunOptions, console: Console): Promise<Exit> {
  const plan = await readPlan(planPath)
  // Before anything is read: without the right to it there is nothing to do.
  const connection = await connect(plan.server.url, options, console)
  const folder = stateFolder(planPath)
  using _ = lockState(folder)
  const db = openState(folder)
  const problems = new Problems(db, options.maxSkips)
  const source = await openSource(plan.export.path, (problem) => problems.add('send', problem))
  try {
    const format = formats.find(({ name }) => name === plan.export.format)
    if (!format)
      throw new Stop(
        `There is no format ${plan.export.format}; there are ${formats.map(({ name }) => name).join(', ')}`,
      )
    problems.again('dry')
    if (options.restart) await restart(db, connection)
    const tz = plan.export.timezone
    await readInto(db, problems, { source, format, tz, update: options.update ?? false }, console)
    const ledger = new Ledger(db)
    const work = workOf(plan, ledger, options)
    const shared = { db, ledger, problems, plan, options, connection, source, folder, console }
    await (options.dryRun ? rehearse(shared, work) : perform(shared, work))
    return problems.skipped > 0 ? exit.skipped : exit.clean
  } finally {
    await conclude(folder, problems, plan, new Ledger(db), console)
    await source.close()
    db.close()
  }
}

type Shared = {
  db: Database
  ledger: Ledger
  problems: Problems
  plan: Plan
  options: RunOptions
  connection: Connection
  source: Source
  folder: string
  console: Console
}

function workOf(plan: Plan, ledger: Ledger, { rooms: wanted, mode }: RunOptions): Work[] {
  const byId = new Map(ledger.rooms().map((room) => [room.id, room]))
  const glob = wanted === undefined ? undefined : new Bun.Glob(wanted)
  const work = plan.rooms
    .filter(({ to }) => to !== 'skip')
    .filter(({ from, name }) => !glob || glob.match(from) || glob.match(name ?? from))
    .flatMap((planned) => {
      const room = byId.get(planned.from)
      return room ? [{ planned: { ...planned, ...(mode && { mode }) }, room }] : []
    })
  if (work.length === 0)
    throw new Stop(
      wanted === undefined
        ? 'The plan has no room that is to be imported: look at `to` of its rooms'
        : `No room of the plan that is to be imported is called ${wanted}`,
    )
  return work
}

async function perform(shared: Shared, work: readonly Work[]): Promise<void> {
  const { ledger, problems, options, connection, console, plan, db } = shared
  const progress = progressOn(console)
  const since = options.since ?? 0
  const until = options.until ?? Number.MAX_SAFE_INTEGER
  const scope = { until_seq: ledger.lastSeq(), since, until }
  const waiting = work.reduce((sum, { room }) => sum + ledger.pending(room.number, scope), 0)
  const total = progress.begin('all rooms', waiting)
  const parts: RoomParts = {
    server: connection.server,
    api: connection.api,
    ledger,
    meta: new Meta(db),
    problems,
    uploader: await uploaderFor(shared),
    progress,
    peopleOf: peopleFor(shared),
    pace: new Pace(options.rate),
    total,
    source: plan.export.source,
    since,
    until,
    federate: options.federate ?? false,
    withMoves: options.moves ?? false,
    finish: console.finish,
  }
  try {
    await inParallel(byTarget(work), options.jobs, async (together) => {
      for (const { planned, room } of together) await new RoomRun(parts, planned, room).run()
    })
  } finally {
    progress.end(total)
    progress.stop()
  }
}

/** Rooms that go into one room go one after another: it takes one import of a source at a time. */
function byTarget(work: readonly Work[]): Work[][] {
  const groups = new Map<string, Work[]>()
  for (const each of work) {
    const { to, mode, from } = each.planned
    const key = to === 'create' || mode === 'archive' ? `from ${from}` : `to ${to}`
    groups.set(key, [...(groups.get(key) ?? []), each])
  }
  return [...groups.values()]
}

/** Records a second that a server of two cores takes from one importer, for the estimate. */
const usualRate = 5000

/** Everything but writing, and about how much that would be. */
async function rehearse(shared: Shared, work: readonly Work[]): Promise<void> {
  const { ledger, problems, options, source, console, connection } = shared
  const progress = progressOn(console)
  const peopleOf = peopleFor(shared)
  const most = await largestUpload(connection.server)
  const tooLarge = new Set(source.entries.filter(({ size }) => size > most).map(({ name }) => name))
  const sum = { events: 0, bytes: 0, files: 0 }
  try {
    for (const each of work) {
      const weight = await rehearseRoom(each, {
        ledger,
        problems,
        source,
        progress,
        people: peopleOf(each.planned),
        since: options.since ?? 0,
        until: options.until ?? Number.MAX_SAFE_INTEGER,
        withMoves: options.moves ?? false,
        media: options.media,
        tooLarge,
        finish: console.finish,
        stop: console.stop,
      })
      for (const name of ['events', 'bytes', 'files'] as const) sum[name] += weight[name]
    }
    const text = `${(sum.bytes / 1e6).toFixed(1)} MB of text`
    const time = timeText(sum.events / Math.min(usualRate, options.rate ?? usualRate))
    progress.say(
      `Together ${grouped(sum.events)} events in ${grouped(work.length)} rooms, ${text}, ${grouped(sum.files)} files; about ${time} without the files`,
      sum,
    )
  } finally {
    progress.stop()
  }
}

function peopleFor({ ledger, plan, options, connection }: Shared): (room: PlannedRoom) => People {
  const made = new Map<PeopleMode, People>()
  return (room) => {
    const mode = options.users ?? room.people ?? plan.people.mode
    const people = made.get(mode) ?? new People(ledger, { ...plan.people, mode }, connection.userId)
    made.set(mode, people)
    return people
  }
}

async function uploaderFor(shared: Shared): Promise<Uploader> {
  const { source, connection, ledger, folder, options, console } = shared
  return new Uploader({
    source,
    server: connection.server,
    ledger,
    folder: join(folder, 'files'),
    most: await largestUpload(connection.server),
    privateHosts: options.privateHosts ?? false,
    off: !options.media,
    signal: console.stop,
  })
}

/** Drops what is open on the server, and forgets what was read and not published. */
async function restart(db: Database, { api }: Connection): Promise<void> {
  const ledger = new Ledger(db)
  for (const session of ledger.sessions()) {
    if (session.state !== 'open') continue
    await api.abort(session.session_id)
    ledger.dropped(session, 'aborted')
  }
  forgetUnsent(db)
}

async function inParallel<T>(
  items: readonly T[],
  jobs: number,
  work: (item: T) => Promise<void>,
): Promise<void> {
  const rest = [...items]
  let failed: { error: unknown } | undefined
  const worker = async () => {
    for (let item = rest.shift(); item !== undefined && !failed; item = rest.shift()) {
      try {
        await work(item)
      } catch (error) {
        failed ??= { error }
      }
    }
  }
  await Promise.all(Array.from({ length: jobs }, worker))
  if (failed) throw failed.error
}

async function conclude(
  folder: string,
  problems: Problems,
  plan: Plan,
  ledger: Ledger,
  console: Console,
): Promise<void> {
  const { html } = await writeReports(folder, problems, summaryOf(plan, ledger, problems))
  if (console.json)
    console.write(JSON.stringify({ event: 'report', html, problems: problems.counts() }))
  else {
    tellProblems(console, problems)
    if (problems.counts().length > 0) console.write(`The whole report: ${html}`)
  }
}

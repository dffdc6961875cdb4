import { type Plan, readPlan } from '#importers/plan/plan.ts'
import { grouped } from '#importers/report/progress.ts'
import { writeReports } from '#importers/report/problems-report.ts'
import { Refused } from '#importers/server/client.ts'
import type { SessionState } from '#importers/server/import-api.ts'
import { openState, stateFolder } from '#importers/state/database.ts'
import { Ledger, type Session } from '#importers/state/ledger.ts'
import { Problems } from '#importers/state/problems.ts'
import { Stop } from '#importers/stop.ts'
import { connect, type Credentials } from './connect.ts'
import { type Console, type Exit, exit } from './console.ts'
import { tellProblems } from './inspect.ts'
import { lockState } from './lock.ts'
import { summaryOf } from './summary.ts'

export type SessionOptions = Credentials & { plan: string }

/** The sessions of a plan; one of them if it is named. */
export function sessionsOf(ledger: Ledger, wanted: string | undefined): Session[] {
  const all = ledger.sessions().filter((each) => each.state !== 'aborted')
  if (wanted === undefined) return all
  const found = all.filter((each) => each.session_id === wanted)
  if (found.length === 0)
    throw new Stop(`The plan has no session ${wanted}: \`import status\` lists them`)
  return found
}

/** Says how far the sessions of a plan are, as the server knows it. */
export async function status(
  wanted: string | undefined,
  options: SessionOptions,
  console: Console,
): Promise<Exit> {
  const plan = await readPlan(options.plan)
  const { api } = await connect(plan.server.url, options, console)
  const db = openState(stateFolder(options.plan))
  try {
    const ledger = new Ledger(db)
    const names = new Map(ledger.rooms().map((room) => [room.number, room.name ?? room.id]))
    const sessions = sessionsOf(ledger, wanted)
    if (sessions.length === 0) console.write('Nothing was sent yet')
    for (const session of sessions) {
      const state = await api.session(session.session_id)
      const waiting = session.state === 'open' ? ledger.pending(session.room, session) : 0
      tellSession(console, names.get(session.room) ?? '', state, waiting)
    }
    return exit.clean
  } finally {
    db.close()
  }
}

function tellSession(console: Console, name: string, state: SessionState, waiting: number): void {
  if (console.json) {
    console.write(JSON.stringify({ event: 'session', name, ...state, records_of_room: waiting }))
    return
  }
  const parts = [
    `${grouped(state.accepted)} events`,
    ...(state.duplicates > 0 ? [`${grouped(state.duplicates)} were there already`] : []),
    ...(state.failed > 0 ? [`${grouped(state.failed)} failed`] : []),
    ...(state.waiting > 0 ? [`${grouped(state.waiting)} wait for what they refer to`] : []),
    ...(waiting > 0 ? [`of ${grouped(waiting)} records`] : []),
  ]
  console.write(
    `${name}: ${state.state}, ${parts.join(', ')} (${state.session_id}, ${state.room_id})`,
  )
}

/** Takes sessions back: what is published is hidden at once, what is not is dropped. */
export async function undo(
  wanted: string | undefined,
  options: SessionOptions & { all?: boolean },
  console: Console,
): Promise<Exit> {
  if (wanted === undefined && !options.all)
    throw new Stop('Name a session (`import status` lists them), or say --all')
  const plan = await readPlan(options.plan)
  const { api } = await connect(plan.server.url, options, console)
  using _ = lockState(stateFolder(options.plan))
  const db = openState(stateFolder(options.plan))
  try {
    const ledger = new Ledger(db)
    // The newest first: what came later may refer to what was there.
    for (const session of sessionsOf(ledger, wanted).reverse()) {
      const { state } = await api.session(session.session_id)
      if (state === 'open') {
        await api.abort(session.session_id)
        ledger.dropped(session, 'aborted')
      } else {
        if (state === 'committed' || state === 'undoing') await api.undo(session.session_id)
        ledger.dropped(session, 'undone')
      }
      console.write(`${session.session_id}: taken back (${session.room_id})`)
    }
    ledger.forgetMissing()
    return exit.clean
  } finally {
    db.close()
  }
}

/** Writes the report again, and tells it. */
export async function report(planPath: string, console: Console): Promise<Exit> {
  const plan: Plan = await readPlan(planPath)
  const folder = stateFolder(planPath)
  const db = openState(folder)
  try {
    const problems = new Problems(db)
    if (console.json) {
      for (const problem of problems.all()) console.write(JSON.stringify(problem))
    } else {
      const summary = summaryOf(plan, new Ledger(db), problems)
      const { html, ndjson } = await writeReports(folder, problems, summary)
      tellProblems(console, problems)
      console.write(`${html}\n${ndjson}`)
    }
    return problems.skipped > 0 ? exit.skipped : exit.clean
  } finally {
    db.close()
  }
}

/** What the server said, if it said anything. */
export function reasonOf(error: unknown): string {
  if (error instanceof Refused) return `${error.message} (${error.errcode})`
  return error instanceof Error ? error.message : String(error)
}

import type { Database } from 'bun:sqlite'
import type { Problem, ProblemClass } from '#importers/format.ts'
import { Stop } from '#importers/stop.ts'

export type Stage = 'read' | 'send' | 'dry'

type Row = {
  class: ProblemClass
  reason: string
  done: Problem['done']
  file: string
  line: number | null
  offset: number | null
  room: string | null
  id: string | null
}

export type ProblemCount = { class: ProblemClass; done: Problem['done']; count: number }

/** What was not imported as it was, and why; kept so that running again does not tell it twice. */
export class Problems {
  skipped: number
  /** Told of each that is new. */
  onProblem: ((problem: Problem) => void) | undefined
  readonly #db: Database
  readonly #maxSkips: number

  constructor(db: Database, maxSkips = Number.POSITIVE_INFINITY) {
    this.#db = db
    this.#maxSkips = maxSkips
    this.skipped = this.#countSkipped()
  }

  add(stage: Stage, problem: Problem): void {
    const { place } = problem
    const { changes } = this.#db
      .query(
        `insert or ignore into problem (stage, class, reason, done, file, line, offset, room, id)
         values (?, ?, ?, ?, ?, ?, ?, ?, ?)`,
      )
      .run(
        stage,
        problem.class,
        problem.reason,
        problem.done,
        place.file,
        place.line ?? null,
        place.offset ?? null,
        problem.room ?? null,
        problem.id ?? null,
      )
    if (changes === 0) return
    this.onProblem?.(problem)
    if (problem.done !== 'skipped') return
    this.skipped++
    if (this.skipped > this.#maxSkips) {
      throw new Stop(
        `More than ${this.#maxSkips} records would be skipped (--max-skips); the last: ${problem.reason}, ${placeText(problem)}`,
      )
    }
  }

  /** Forgets what a stage told: it is about to be told again. */
  again(stage: Stage): void {
    this.#db.query('delete from problem where stage = ?').run(stage)
    this.skipped = this.#countSkipped()
  }

  counts(): ProblemCount[] {
    return this.#db
      .query<ProblemCount, []>(
        'select class, done, count(*) as count from problem group by class, done order by count(*) desc',
      )
      .all()
  }

  *all(): Generator<Problem> {
    const rows = this.#db.query<Row, []>('select * from problem order by number')
    for (const row of rows.iterate()) yield problemOf(row)
  }

  /** The first problems of a kind. */
  *of(what: ProblemClass, done: Problem['done'], limit: number): Generator<Problem> {
    const rows = this.#db.query<Row, [string, string, number]>(
      'select * from problem where class = ? and done = ? order by number limit ?',
    )
    for (const row of rows.iterate(what, done, limit)) yield problemOf(row)
  }

  #countSkipped(): number {
    return this.#db
      .query<{ count: number }, []>(`select count(*) as count from problem where done = 'skipped'`)
      .get()!.count
  }
}

const problemOf = (row: Row): Problem => ({
  class: row.class,
  reason: row.reason,
  done: row.done,
  place: {
    file: row.file,
    ...(row.line !== null && { line: row.line }),
    ...(row.offset !== null && { offset: row.offset }),
  },
  ...(row.room !== null && { room: row.room }),
  ...(row.id !== null && { id: row.id }),
})

/** Where something stands, as people read it. */
export function placeText({ place, id }: Pick<Problem, 'place' | 'id'>): string {
  const line = place.line === undefined ? '' : `:${place.line}`
  const offset = place.line === undefined && place.offset !== undefined ? ` @${place.offset}` : ''
  return `${place.file}${line}${offset}${id === undefined ? '' : ` (${id})`}`
}

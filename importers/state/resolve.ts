import type { Database, Statement } from 'bun:sqlite'
import type { Problem, ProblemClass } from '#importers/format.ts'
import type { Problems } from './problems.ts'

type Related = { seq: number; kind: string; json: string }

const rounds = 30
/** Rows that are held at a time. */
const page = 5000
/** Alone those that refer to others: all rows together are as large as the export. */
const related = { thread: 'indexed by record_threaded', target: 'indexed by record_targeted' }
/** A row stands after another: what orders records of a room. */
const isAfter = '(t.time, t.tie, t.seq) > (r.time, r.tie, r.seq)'

/**
 * Puts right what only shows when everything is read: authors whom nobody told of, parents that are missing
 * or come later, threads on threads, circles. Touches only records that were read since `known`.
 */
export function resolve(db: Database, problems: Problems, known: number): void {
  const resolver = new Resolver(db, problems, known)
  db.transaction(() => {
    resolver.placeholders()
    resolver.leaveOutDeleted()
    resolver.breakSelves()
    resolver.dropMissing('thread')
    resolver.dropMissing('target')
    resolver.flattenThreads()
    const moved = [resolver.moveBehind('thread'), resolver.moveBehind('target')]
    // Both once more: what was moved behind its thread may stand behind what answers it.
    if (!moved.includes(true)) return
    resolver.moveBehind('thread')
    resolver.moveBehind('target')
  })()
}

class Resolver {
  readonly #db: Database
  readonly #problems: Problems
  readonly #known: number

  constructor(db: Database, problems: Problems, known: number) {
    this.#db = db
    this.#problems = problems
    this.#known = known
  }

  /** People whom the export does not know get a name by what it calls them. */
  placeholders(): void {
    const unknown = this.#db
      .query<{ person: string; room: string; count: number }, []>(
        `select t.person, min(r.id) as room, sum(t.count) as count
         from tally t join room r on r.number = t.room
         where not exists (select 1 from person p where p.id = t.person) group by t.person`,
      )
      .all()
    for (const { person, room, count } of unknown) {
      this.#db
        .query('insert into person (id, json) values (?, ?)')
        .run(person, JSON.stringify({ removed: true }))
      this.#problems.add('read', {
        class: 'unknown_author',
        reason: `The export says nothing of the author of ${count} records but the ID`,
        place: { file: '' },
        room,
        id: person,
        done: 'degraded',
      })
    }
  }

  /** What was deleted is kept only where something hangs on it. */
  leaveOutDeleted(): void {
    this.#db
      .query(
        `update record as r set state = not (
           exists (select 1 from record x where x.room = r.room and x.thread = r.id)
           or exists (select 1 from record x where x.room = r.room and x.target = r.id and x.kind = 'message'))
         where r.state = 2`,
      )
      .run()
  }

  breakSelves(): void {
    for (const column of ['thread', 'target'] as const) {
      const found = this.#db
        .query<Related, [number]>(
          `select seq, kind, json from record ${related[column]}
           where seq > ? and ${column} is not null and ${column} = id`,
        )
        .all(this.#known)
      for (const each of found) this.#cut(each, column, 'cycle', 'It refers to itself')
    }
  }

  dropMissing(column: 'thread' | 'target'): void {
    const found = this.#db.query<Related, [number]>(
      `select r.seq, r.kind, r.json from record r ${related[column]}
       where r.seq > ? and r.${column} is not null and r.state = 0
         and not exists (
           select 1 from record t
           where t.room = r.room and t.id = r.${column} and t.state = 0
             and t.kind in ('message', 'notice')) limit ${page}`,
    )
    this.#cutAll(found, column, 'missing_parent', 'What it refers to is not in the export')
  }

  /** A thread that begins in a thread is part of that one: Matrix has one level. */
  flattenThreads(): void {
    const flatten = this.#db.query(
      `update record as r ${related.thread} set thread = t.thread from record t
       where r.seq > ? and r.thread is not null and t.room = r.room and t.id = r.thread
         and t.thread is not null and t.thread <> r.id`,
    )
    for (let round = 0; round < rounds && flatten.run(this.#known).changes > 0; round++);
    const circles = this.#db.query<Related, [number]>(
      `select r.seq, r.kind, r.json from record r ${related.thread}
       join record t on t.room = r.room and t.id = r.thread
       where r.seq > ? and r.thread is not null and t.thread is not null
       limit ${page}`,
    )
    this.#cutAll(circles, 'thread', 'cycle', 'Its thread leads back to itself')
  }

  /**
   * What refers to a later record goes right behind it: an event names another by its hash, so the other
   * has to be there. Those that still stand before what they name after many rounds go in a circle. Whether
   * there were any.
   */
  moveBehind(column: 'thread' | 'target'): boolean {
    const early = `r.seq > ? and r.${column} is not null and t.room = r.room and t.id = r.${column} and ${isAfter}`
    const move = this.#db.query(
      `update record as r ${related[column]} set time = t.time, tie = t.tie || '~'
       from record t where ${early}`,
    )
    if (move.run(this.#known).changes === 0) return false
    for (let round = 1; round < rounds && move.run(this.#known).changes > 0; round++);
    const circles = this.#db.query<Related, [number]>(
      `select r.seq, r.kind, r.json from record r ${related[column]}
       join record t on ${early} limit ${page}`,
    )
    this.#cutAll(circles, column, 'cycle', 'What it refers to refers back to it')
    return true
  }

  #cutAll(
    found: Statement<Related, [number]>,
    column: 'thread' | 'target',
    why: ProblemClass,
    reason: string,
  ): void {
    for (let rows = found.all(this.#known); rows.length > 0; rows = found.all(this.#known))
      for (const each of rows) this.#cut(each, column, why, reason)
  }

  /** Takes a relation away; what is nothing without it goes too. */
  #cut(related: Related, column: 'thread' | 'target', why: ProblemClass, reason: string): void {
    const alone = related.kind === 'message' || related.kind === 'notice'
    this.#db
      .query(`update record set ${column} = null, state = ? where seq = ?`)
      .run(alone ? 0 : 1, related.seq)
    const { room, id, place } = JSON.parse(related.json) as Pick<Problem, 'room' | 'id' | 'place'>
    this.#problems.add('read', {
      class: why,
      reason,
      place: place ?? { file: '' },
      ...(room !== undefined && { room }),
      ...(id !== undefined && { id }),
      done: alone ? 'degraded' : 'skipped',
    })
  }
}

import type { Database } from 'bun:sqlite'
import type {
  Deletion,
  Edit,
  Item,
  Message,
  Notice,
  Person,
  Problem,
  Reaction,
  Room,
} from '#importers/format.ts'
import type { Changes } from './changes.ts'
import type { Problems } from './problems.ts'

/** Items that stand in a room at a time. */
export type Stamped = Message | Edit | Deletion | Reaction | Notice

export type SpooledRow = {
  seq: number
  id: string
  kind: Stamped['kind']
  time: number
  tie: string
  thread: string | null
  target: string | null
  json: string
}

export type Cursor = { time: number; tie: string; seq: number }

const itemsOfTransaction = 5000
/** Before chats; and what a clock that is a day ahead may say. */
const earliest = Date.UTC(1980, 0, 1)
const day = 24 * 3600 * 1000

/** Writes what a format reads: in any order in, by room and time out. */
export class Spool {
  records = 0
  readonly #db: Database
  readonly #problems: Problems
  readonly #latest: number
  /** Records up to here are of an earlier reading that came to its end. */
  readonly #known: number
  readonly #changes: Changes | undefined
  readonly #rooms = new Map<string, number>()
  /** Of each room the last time that was one, for what has none. */
  readonly #times = new Map<number, number>()
  #tally = new Map<string, { room: number; person: string; kind: string } & Spread>()
  #open = 0

  constructor(
    db: Database,
    problems: Problems,
    known: number,
    { changes, now = Date.now() }: { changes?: Changes; now?: number } = {},
  ) {
    this.#db = db
    this.#problems = problems
    this.#known = known
    this.#changes = changes
    this.#latest = now + day
  }

  add(item: Item): void {
    if (this.#open === 0) this.#db.run('begin immediate')
    if (item.kind === 'room') this.#addRoom(item)
    else if (item.kind === 'person') this.#addPerson(item)
    else if (item.kind === 'rename') {
      this.#db
        .query('insert or replace into rename values (?, ?, ?, ?)')
        .run(item.person, item.time, item.name, item.before ?? null)
    } else this.#addRecord(item)
    if (++this.#open >= itemsOfTransaction) this.flush()
  }

  problem(problem: Problem): void {
    this.#problems.add('read', problem)
  }

  /** Makes what was added durable. */
  flush(): void {
    if (this.#open === 0) return
    const add = this.#db.query(
      `insert into tally values (?, ?, ?, ?, ?, ?)
       on conflict do update set count = count + excluded.count,
         first = min(first, excluded.first), last = max(last, excluded.last)`,
    )
    for (const { room, person, kind, count, first, last } of this.#tally.values())
      add.run(room, person, kind, count, first, last)
    this.#tally = new Map()
    this.#db.run('commit')
    this.#open = 0
  }

  #addRoom(room: Room): void {
    const number = this.#roomNumber(room.id)
    this.#db
      .query(
        `update room set json = json_patch(json, json_remove(?, '$.kind', '$.id')) where number = ?`,
      )
      .run(JSON.stringify(room), number)
  }

  #addPerson(person: Person): void {
    this.#db
      .query(
        `insert into person (id, json) values (?, json_remove(?, '$.kind', '$.id'))
         on conflict (id) do update set json = json_patch(json, excluded.json)`,
      )
      .run(person.id, JSON.stringify(person))
  }

  #addRecord(item: Stamped): void {
    const room = this.#roomNumber(item.room)
    const time = this.#timeOf(item, room)
    const { changes } = this.#db
      .query(
        `insert or ignore into record (room, id, kind, time, tie, thread, target, state, pinned, json)
         values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
      )
      .run(
        room,
        item.id,
        item.kind,
        time,
        item.order ?? '',
        item.kind === 'message' ? (item.thread ?? null) : null,
        item.kind === 'message'
          ? (item.replyTo ?? null)
          : item.kind === 'notice'
            ? (item.replyTo ?? null)
            : item.target,
        item.kind === 'message' && item.deleted ? 2 : 0,
        item.kind === 'message' && item.pinned ? 1 : 0,
        JSON.stringify(time === item.time ? item : { ...item, time }),
      )
    if (changes === 0) this.#repeated(item, room)
    else {
      this.records++
      this.#count(room, item.sender, item.kind, time)
    }
  }

  #repeated(item: Stamped, room: number): void {
    const first = this.#db
      .query<{ seq: number }, [number, string]>('select seq from record where room = ? and id = ?')
      .get(room, item.id)
    if (!first) return
    if (first.seq <= this.#known) {
      for (const change of this.#changes?.of(item, room, first) ?? []) this.#addRecord(change)
      return
    }
    this.#complain(item, 'duplicate', 'The export has this record twice', 'left_out')
  }

  #timeOf(item: Stamped, room: number): number {
    if (item.time >= earliest && item.time <= this.#latest) {
      this.#times.set(room, item.time)
      return item.time
    }
    const shown = Number.isFinite(item.time) ? new Date(item.time).toJSON() : null
    this.#complain(
      item,
      'bad_time',
      `${shown ?? 'What stands for its time'} cannot be: it goes behind the record before it`,
      'degraded',
    )
    return this.#times.get(room) ?? earliest
  }

  #complain(item: Stamped, what: Problem['class'], reason: string, done: Problem['done']): void {
    this.problem({
      class: what,
      reason,
      place: item.place ?? { file: '' },
      room: item.room,
      id: item.id,
      done,
    })
  }

  #count(room: number, person: string, kind: string, time: number): void {
    const key = `${room} ${kind} ${person}`
    const found = this.#tally.get(key)
    if (!found) this.#tally.set(key, { room, person, kind, count: 1, first: time, last: time })
    else {
      found.count++
      found.first = Math.min(found.first, time)
      found.last = Math.max(found.last, time)
    }
  }

  #roomNumber(id: string): number {
    const known = this.#rooms.get(id)
    if (known !== undefined) return known
    const { number } = this.#db
      .query<{ number: number }, [string]>(
        'insert into room (id) values (?) on conflict (id) do update set id = id returning number',
      )
      .get(id)!
    this.#rooms.set(id, number)
    return number
  }
}

type Spread = { count: number; first: number; last: number }

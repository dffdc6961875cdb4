import type { Database } from 'bun:sqlite'
import type { Person, Room } from '#importers/format.ts'
import type { PeopleMode } from '#importers/matrix/people.ts'
import type { Cursor, SpooledRow } from './spool.ts'

export type RoomRow = { number: number; id: string; roomId: string | null } & Omit<
  Room,
  'kind' | 'id'
>

export type RoomCount = {
  number: number
  records: number
  messages: number
  people: number
  first: number
  last: number
}

export type Session = {
  number: number
  room: number
  room_id: string
  session_id: string
  mode: string
  until_seq: number
  since: number
  until: number
  people: PeopleMode
  /** 1: with comings and goings. */
  moves: number
  /** 1: with files. */
  media: number
  state: 'open' | 'committed' | 'undone' | 'aborted'
  accepted: number
}

/** Which records of a room a session sends. */
export type Scope = Pick<Session, 'until_seq' | 'since' | 'until'>

/** Why files are missing that were not asked for (`--no-media`). */
export const notWanted = 'files were not to be imported'

export type Media = {
  mxc: string | null
  type: string | null
  size: number | null
  width: number | null
  height: number | null
  gone: string | null
}

/** A file that is not there, and why. */
export function missing(gone: string): Media {
  return { mxc: null, type: null, size: null, width: null, height: null, gone }
}

/** What is in the state besides problems: rooms, people, sessions, batches, media. */
export class Ledger {
  readonly db: Database

  constructor(db: Database) {
    this.db = db
  }

  rooms(): RoomRow[] {
    return this.db
      .query<{ number: number; id: string; json: string; room_id: string | null }, []>(
        'select * from room order by number',
      )
      .all()
      .map(({ number, id, json, room_id }) => ({
        ...(JSON.parse(json) as Omit<Room, 'kind' | 'id'>),
        number,
        id,
        roomId: room_id,
      }))
  }

  putRoomId(room: number, roomId: string | null): void {
    this.db.query('update room set room_id = ? where number = ?').run(roomId, room)
  }

  roomCounts(): RoomCount[] {
    return this.db
      .query<RoomCount, []>(
        `select room as number, sum(count) as records,
           sum(count) filter (where kind = 'message') as messages,
           count(distinct person) as people, min(first) as first, max(last) as last
         from tally group by room`,
      )
      .all()
  }

  kindCounts(): { kind: string; count: number }[] {
    return this.db
      .query<{ kind: string; count: number }, []>(
        'select kind, sum(count) as count from tally group by kind order by 2 desc',
      )
      .all()
  }

  person(id: string): (Omit<Person, 'kind'> & { userId: string | null }) | undefined {
    const row = this.db
      .query<{ json: string; user_id: string | null }, [string]>(
        'select json, user_id from person where id = ?',
      )
      .get(id)
    if (!row) return undefined
    return { ...(JSON.parse(row.json) as Omit<Person, 'kind' | 'id'>), id, userId: row.user_id }
  }

  /** Everybody who wrote something, the busiest first. */
  *writers(): Generator<{ id: string; count: number; json: string }> {
    yield* this.db
      .query<{ id: string; count: number; json: string }, []>(
        `select p.id, p.json, sum(t.count) as count from tally t join person p on p.id = t.person
         group by p.id order by 3 desc, 1`,
      )
      .iterate()
  }

  /** Gives a person an ID here; false if another one has it. */
  claimUserId(person: string, userId: string): boolean {
    // Who is only mentioned need not be among the people of the export.
    this.db.query(`insert or ignore into person (id, json) values (?, '{}')`).run(person)
    return (
      this.db.query('update or ignore person set user_id = ? where id = ?').run(userId, person)
        .changes === 1
    )
  }

  renames(): Map<string, { time: number; name: string; before: string | null }[]> {
    const all = new Map<string, { time: number; name: string; before: string | null }[]>()
    const rows = this.db.query<
      { person: string; time: number; name: string; before: string | null },
      []
    >('select * from rename order by person, time')
    for (const { person, ...rest } of rows.iterate())
      all.set(person, [...(all.get(person) ?? []), rest])
    return all
  }

  /** How many records of a room wait to be sent, up to a record and between times. */
  pending(room: number, scope: Scope): number {
    return this.db
      .query<{ count: number }, [number, number, number, number]>(
        `select count(*) as count from record where room = ? and session is null and state = 0
           and seq <= ? and time >= ? and time < ?`,
      )
      .get(room, scope.until_seq, scope.since, scope.until)!.count
  }

  /**
   * Until when records of a room that wait may go together: until one that is in the room already. A session
   * reads in one piece.
   */
  endOfStretch(room: number, roomId: string, scope: Scope): number {
    const { time: first } = this.db
      .query<{ time: number | null }, [number, number, number, number]>(
        `select min(time) as time from record where room = ? and session is null and state = 0
           and seq <= ? and time >= ? and time < ?`,
      )
      .get(room, scope.until_seq, scope.since, scope.until)!
    const { time: next } = this.db
      .query<{ time: number | null }, [string, number]>(
        `select min(time) as time from record
         where room in (select number from room where room_id = ?) and session is not null and time > ?`,
      )
      .get(roomId, first ?? scope.since)!
    return Math.min(next ?? scope.until, scope.until)
  }

  /** The next records of a session in their order. */
  page(session: Session, after: Cursor | undefined, limit: number): SpooledRow[] {
    const from = after ?? { time: -1, tie: '', seq: -1 }
    return this.db
      .query<SpooledRow, (number | string)[]>(
        `select seq, id, kind, time, tie, thread, target, json from record
         where room = ? and (time, tie, seq) > (?, ?, ?) and state = 0
           and (session is null or session = ?) and seq <= ? and time >= ? and time < ?
         order by time, tie, seq limit ?`,
      )
      .all(
        session.room,
        from.time,
        from.tie,
        from.seq,
        session.number,
        session.until_seq,
        session.since,
        session.until,
        limit,
      )
  }

  /** What a published session brought, in its order. */
  sent(session: Session, after: Cursor | undefined, limit: number): SpooledRow[] {
    const from = after ?? { time: -1, tie: '', seq: -1 }
    return this.db
      .query<SpooledRow, (number | string)[]>(
        `select seq, id, kind, time, tie, thread, target, json from record
         where room = ? and (time, tie, seq) > (?, ?, ?) and session = ?
         order by time, tie, seq limit ?`,
      )
      .all(session.room, from.time, from.tie, from.seq, session.number, limit)
  }

  /** The last messages of a published session that were pinned, oldest first. */
  pinned(session: Session, limit: number): string[] {
    return this.db
      .query<{ id: string }, [number, number, number]>(
        `select id from record where room = ? and pinned = 1 and session = ?
         order by time desc, tie desc, seq desc limit ?`,
      )
      .all(session.room, session.number, limit)
      .map(({ id }) => id)
      .reverse()
  }

  roomOf(session: Session): string | undefined {
    return this.db
      .query<{ id: string }, [number]>('select id from room where number = ?')
      .get(session.room)?.id
  }

  /** Files that are on the server, in no order. */
  uploaded(limit: number): { key: string; mxc: string }[] {
    return this.db
      .query<{ key: string; mxc: string }, [number]>(
        'select key, mxc from media where mxc is not null order by random() limit ?',
      )
      .all(limit)
  }

  lastSeq(): number {
    return this.db
      .query<{ seq: number }, []>('select ifnull(max(seq), 0) as seq from record')
      .get()!.seq
  }

  sessions(): Session[] {
    return this.db.query<Session, []>('select * from session order by number').all()
  }

  openSession(room: number): Session | undefined {
    return (
      this.db
        .query<Session, [number]>(`select * from session where room = ? and state = 'open'`)
        .get(room) ?? undefined
    )
  }

  addSession(session: Omit<Session, 'number' | 'state' | 'accepted'>): Session {
    return this.db
      .query<Session, (string | number)[]>(
        `insert into session (room, room_id, session_id, mode, until_seq, since, until, people, moves, media)
         values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) returning *`,
      )
      .get(
        session.room,
        session.room_id,
        session.session_id,
        session.mode,
        session.until_seq,
        session.since,
        session.until,
        session.people,
        session.moves,
        session.media,
      )!
  }

  /** The session is published: its records are sent. */
  committed(session: Session, accepted: number): void {
    this.db.transaction(() => {
      this.db
        .query(
          `update record set session = ? where room = ? and session is null and state = 0
             and seq <= ? and time >= ? and time < ?`,
        )
        .run(session.number, session.room, session.until_seq, session.since, session.until)
      this.db
        .query(`update session set state = 'committed', accepted = ? where number = ?`)
        .run(accepted, session.number)
    })()
  }

  /** The session is gone again: its records may be sent anew. */
  dropped(session: Session, state: 'undone' | 'aborted'): void {
    this.db.transaction(() => {
      this.db.query('update record set session = null where session = ?').run(session.number)
      this.db.query('update session set state = ? where number = ?').run(state, session.number)
    })()
  }

  cursorBefore(session: Session, n: number): Cursor | undefined {
    if (n === 0) return undefined
    return (
      this.db
        .query<Cursor, [number, number]>(
          'select time, tie, seq from batch where session = ? and n = ?',
        )
        .get(session.number, n - 1) ?? undefined
    )
  }

  putBatch(session: Session, n: number, last: Cursor, records: number): void {
    this.db
      .query('insert or replace into batch values (?, ?, ?, ?, ?, ?)')
      .run(session.number, n, last.time, last.tie, last.seq, records)
  }

  /** How many records went in batches before this one. */
  recordsBefore(session: Session, n: number): number {
    return this.db
      .query<{ records: number }, [number, number]>(
        'select ifnull(sum(records), 0) as records from batch where session = ? and n < ?',
      )
      .get(session.number, n)!.records
  }

  /** People of whom the server heard in batches before this one. */
  introduced(session: Session, before: number): Set<string> {
    return new Set(
      this.db
        .query<{ person: string }, [number, number]>(
          'select person from introduced where session = ? and n < ?',
        )
        .all(session.number, before)
        .map(({ person }) => person),
    )
  }

  introduce(session: Session, n: number, people: Iterable<string>): void {
    const add = this.db.query('insert or ignore into introduced values (?, ?, ?)')
    this.db.transaction(() => {
      for (const person of people) add.run(session.number, n, person)
    })()
  }

  media(key: string): Media | undefined {
    return this.db.query<Media, [string]>('select * from media where key = ?').get(key) ?? undefined
  }

  putMedia(key: string, media: Media): void {
    this.db
      .query('insert or replace into media values (?, ?, ?, ?, ?, ?, ?)')
      .run(key, media.mxc, media.type, media.size, media.width, media.height, media.gone)
  }

  /** Files that could not be had are asked for again. */
  forgetMissing(): void {
    this.db.run('delete from media where mxc is null')
  }

  mxcOfHash(hash: string): string | undefined {
    return this.db
      .query<{ mxc: string }, [string]>('select mxc from media_hash where hash = ?')
      .get(hash)?.mxc
  }

  putHash(hash: string, mxc: string): void {
    this.db.query('insert or replace into media_hash values (?, ?)').run(hash, mxc)
  }
}

import { Database } from 'bun:sqlite'
import { join } from 'node:path'

/** In which order events were read, kept on disk: a room may have more than fit in memory. */
export class Order implements Disposable {
  count = 0
  readonly #db: Database

  constructor(folder: string) {
    this.#db = new Database(join(folder, 'order.db'), { create: true, strict: true })
    this.#db.run('pragma journal_mode = off')
    this.#db.run('pragma synchronous = off')
    this.#db.run(
      `create table event (place integer primary key, id text not null unique, mine integer not null,
         said text, elsewhere integer not null default 0) strict`,
    )
    this.#db.run(
      'create table thread (root text primary key, replies integer not null) without rowid, strict',
    )
    this.#db.run('begin')
  }

  /** Takes the next event, and of what was imported what it says; false if it was read before. */
  add(eventId: string, said?: string): boolean {
    const { changes } = this.#db
      .query('insert or ignore into event (place, id, mine, said) values (?, ?, ?, ?)')
      .run(this.count, eventId, said === undefined ? 0 : 1, said ?? null)
    this.count += changes
    return changes === 1
  }

  placeOf(eventId: string): number | undefined {
    return this.#db
      .query<{ place: number }, [string]>('select place from event where id = ?')
      .get(eventId)?.place
  }

  /** Something that was imported, by its ID. */
  mine(eventId: string): { place: number; said: string } | undefined {
    return (
      this.#db
        .query<{ place: number; said: string }, [string]>(
          'select place, said from event where id = ? and mine = 1',
        )
        .get(eventId) ?? undefined
    )
  }

  /** What was imported says, from the end to the start. */
  *said(): Generator<string> {
    const rows = this.#db.query<{ said: string }, []>(
      'select said from event where mine = 1 order by place desc',
    )
    for (const { said } of rows.iterate()) yield said
  }

  /** It was read on another server; false if it was before. */
  readElsewhere(eventId: string): boolean {
    return (
      this.#db.query('update event set elsewhere = 1 where id = ? and elsewhere = 0').run(eventId)
        .changes === 1
    )
  }

  /** What was imported and not read elsewhere, in order. */
  unread(limit: number): string[] {
    return this.#db
      .query<{ id: string }, [number]>(
        'select id from event where mine = 1 and elsewhere = 0 order by place limit ?',
      )
      .all(limit)
      .map(({ id }) => id)
  }

  /** How much of what was imported was not read elsewhere. */
  get unreadCount(): number {
    return this.#db
      .query<{ count: number }, []>(
        'select count(*) as count from event where mine = 1 and elsewhere = 0',
      )
      .get()!.count
  }

  /** Events on from a place, in one direction. */
  from(place: number, dir: 'f' | 'b', limit: number): string[] {
    const [compare, order] = dir === 'f' ? ['>', 'asc'] : ['<', 'desc']
    return this.#db
      .query<{ id: string }, [number, number]>(
        `select id from event where place ${compare} ? order by place ${order} limit ?`,
      )
      .all(place, limit)
      .map(({ id }) => id)
  }

  /** The borders of what was imported: where the next event is of the other kind. */
  borders(limit: number): number[] {
    return this.#db
      .query<{ place: number }, [number]>(
        `select a.place from event a left join event b on b.place = a.place + 1
         where b.mine is null or b.mine <> a.mine order by a.place limit ?`,
      )
      .all(limit)
      .map(({ place }) => place)
  }

  at(place: number): string | undefined {
    return this.#db
      .query<{ id: string }, [number]>('select id from event where place = ?')
      .get(place)?.id
  }

  addReply(root: string): void {
    this.#db
      .query('insert into thread values (?, 1) on conflict do update set replies = replies + 1')
      .run(root)
  }

  threads(limit: number): { root: string; replies: number }[] {
    return this.#db
      .query<{ root: string; replies: number }, [number]>(
        'select root, replies from thread order by random() limit ?',
      )
      .all(limit)
  }

  [Symbol.dispose](): void {
    this.#db.close()
  }
}

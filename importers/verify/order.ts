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
      `create table event (place integer primary key, id text not null unique, mine integer not null) strict`,
    )
    this.#db.run(
      'create table thread (root text primary key, replies integer not null) without rowid, strict',
    )
    this.#db.run('begin')
  }

  /** Takes the next event; false if it was read before. */
  add(eventId: string, isMine: boolean): boolean {
    const { changes } = this.#db
      .query('insert or ignore into event values (?, ?, ?)')
      .run(this.count, eventId, isMine ? 1 : 0)
    this.count += changes
    return changes === 1
  }

  placeOf(eventId: string): number | undefined {
    return this.#db
      .query<{ place: number }, [string]>('select place from event where id = ?')
      .get(eventId)?.place
  }

  isMine(eventId: string): boolean {
    return (
      this.#db.query<{ mine: number }, [string]>('select mine from event where id = ?').get(eventId)
        ?.mine === 1
    )
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

  /** The next of what was imported below a place. */
  mineBelow(place: number): { id: string; place: number } | undefined {
    return (
      this.#db
        .query<{ id: string; place: number }, [number]>(
          'select id, place from event where place < ? and mine = 1 order by place desc limit 1',
        )
        .get(place) ?? undefined
    )
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

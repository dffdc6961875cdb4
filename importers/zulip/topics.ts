import type { Scratch } from '#importers/read/scratch.ts'

export const topicsSchema =
  'create table topics (key text primary key, id text not null, time real not null) without rowid'

/**
 * The first message of each topic of each channel: the root of the thread that the topic becomes. Topics
 * differ by more than the case of their letters. IDs alone do not tell: what an organization had imported
 * got its IDs late.
 */
export class Topics {
  readonly #note: (key: string, id: string, time: number) => void
  readonly #find: (key: string) => string | undefined

  constructor({ db }: Scratch) {
    const note = db.query<unknown, [string, string, number]>(
      `insert into topics values (?, ?, ?) on conflict (key) do update
         set id = excluded.id, time = excluded.time
         where (excluded.time, cast(excluded.id as integer)) < (time, cast(id as integer))`,
    )
    const find = db.query<{ id: string }, [string]>('select id from topics where key = ?')
    this.#note = (key, id, time) => void note.run(key, id, time)
    this.#find = (key) => find.get(key)?.id
  }

  /** Tells of a message, ahead of reading them. */
  note(room: string, topic: string, id: string, time: number): void {
    this.#note(keyOf(room, topic), id, time)
  }

  root(room: string, topic: string): string | undefined {
    return this.#find(keyOf(room, topic))
  }
}

const keyOf = (room: string, topic: string) => `${room}\n${topic.toLowerCase()}`

import type { Database } from 'bun:sqlite'
import type { Deletion, Edit, Message, Reaction, Text } from '#importers/format.ts'
import { cleanText } from '#importers/matrix/content.ts'
import type { Stamped } from './spool.ts'

type Known = { seq: number; kind: string; time: number; session: number | null; json: string }

/**
 * What a newer export says otherwise of messages that an earlier one had: as records of their own, since
 * what was sent stands. That a record is no longer there tells nothing: an export may be of some time only.
 */
export class Changes {
  /** How many messages were changed. */
  found = 0
  readonly #db: Database
  readonly #wanted: boolean
  /** Of each room the time of the last record that was sent. */
  readonly #lasts = new Map<number, number>()

  constructor(db: Database, wanted: boolean) {
    this.#db = db
    this.#wanted = wanted
  }

  /** The records that bring what changed, if they are wanted. */
  of(item: Stamped, room: number, { seq }: { seq: number }): Stamped[] {
    if (item.kind !== 'message') return []
    const known = this.#db
      .query<Known, [number]>('select seq, kind, time, session, json from record where seq = ?')
      .get(seq)
    if (known?.kind !== 'message') return []
    const before = JSON.parse(known.json) as Message
    const changes = [
      ...this.#deletion(before, item, room),
      ...this.#edit(before, item, room),
      ...this.#reactions(before, item, room),
    ]
    if (changes.length === 0) return []
    if (known.session === null && !this.#isSending(room)) {
      this.#replace(known, item)
      return []
    }
    this.found++
    return this.#wanted ? changes : []
  }

  #isSending(room: number): boolean {
    const open = this.#db.query<unknown, [number]>(
      `select 1 from session where room = ? and state = 'open'`,
    )
    return open.get(room) !== null
  }

  /** Nothing of it was sent: it is as if the newer export had been the first. */
  #replace({ seq, time }: Known, item: Message): void {
    this.#db
      .query('update record set json = ?, pinned = ?, state = iif(?, 2, state) where seq = ?')
      .run(JSON.stringify({ ...item, time }), item.pinned ? 1 : 0, item.deleted ? 1 : 0, seq)
  }

  #deletion(before: Message, item: Message, room: number): Deletion[] {
    const own = `${item.id}#update/deleted`
    if (!item.deleted || before.deleted || this.#has(room, own)) return []
    const { id: target, sender, place } = item
    const time = Math.max(item.time, this.#last(room))
    const stamp = { room: item.room, id: own, sender, time, ...(place && { place }) }
    return [{ kind: 'deletion', ...stamp, target }]
  }

  /** Only what the export itself says was edited: how a text is converted may change with this program. */
  #edit(before: Message, item: Message, room: number): Edit[] {
    if (item.deleted || before.deleted) return []
    const { id, body, html, mentions, mentionsRoom, sender, place } = item
    const updates = this.#updates(room, id)
    const last = updates.at(-1) ?? before
    const isEdited = item.editedAt !== undefined && item.editedAt !== before.editedAt
    const tellsNot = item.editedAt === undefined && before.editedAt === undefined
    if (body === last.body || (!isEdited && !tellsNot)) return []
    return [
      {
        kind: 'edit',
        room: item.room,
        id: `${id}#update/${updates.length + 1}`,
        sender,
        time: Math.max(item.editedAt ?? item.time, this.#last(room)),
        target: id,
        body,
        ...(html !== undefined && { html }),
        ...(mentions && { mentions }),
        ...(mentionsRoom && { mentionsRoom }),
        ...(place && { place }),
      },
    ]
  }

  /** Those that are new; that one was taken back is not told by all formats. */
  #reactions(before: Message, item: Message, room: number): Reaction[] {
    if (item.deleted) return []
    const known = new Set(
      (before.reactions ?? []).flatMap(({ key, people }) => people.map((each) => `${key} ${each}`)),
    )
    return (item.reactions ?? []).flatMap(({ key, people, time }) =>
      people
        // As those are called that come with their message.
        .map((person) => ({ person, id: `${item.id}#reaction/${cleanText(key)}/${person}` }))
        .filter(({ person, id }) => !known.has(`${key} ${person}`) && !this.#has(room, id))
        .map(({ person, id }) => ({
          kind: 'reaction' as const,
          room: item.room,
          id,
          sender: person,
          time: Math.max(time ?? item.time, this.#last(room)),
          target: item.id,
          key,
          ...(item.place && { place: item.place }),
        })),
    )
  }

  /** What changed since an export happened behind all that it has, and goes there. */
  #last(room: number): number {
    const known = this.#lasts.get(room)
    if (known !== undefined) return known
    const { time } = this.#db
      .query<{ time: number | null }, [number]>(
        'select max(time) as time from record where room = ? and session is not null',
      )
      .get(room)!
    this.#lasts.set(room, time ?? 0)
    return time ?? 0
  }

  #has(room: number, id: string): boolean {
    const found = this.#db.query<unknown, [number, string]>(
      'select 1 from record where room = ? and id = ?',
    )
    return found.get(room, id) !== null
  }

  /** The texts that newer exports gave a message already, oldest first. */
  #updates(room: number, id: string): Text[] {
    const beginning = `${id}#update/`
    return this.#db
      .query<{ id: string; json: string }, [number, string]>(
        `select id, json from record where room = ? and target = ? and kind = 'edit' order by seq`,
      )
      .all(room, id)
      .filter((edit) => edit.id.startsWith(beginning))
      .map(({ json }) => JSON.parse(json) as Edit)
  }
}

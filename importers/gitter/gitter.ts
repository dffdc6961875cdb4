import type { Format, Item, Message, Person, Place, ReadContext, Room } from '#importers/format.ts'
import { plainOf } from '#importers/markup/html.ts'
import {
  type Fields,
  fields,
  flag,
  id,
  isFields,
  list,
  number,
  text,
} from '#importers/read/fields.ts'
import { readJson } from '#importers/read/json.ts'
import { readNdjson } from '#importers/read/ndjson.ts'
import type { Source } from '#importers/source.ts'
import { type FileKind, kindOf, roomOf } from './files.ts'
import { textOf } from './markup.ts'

/** Gitter, before it became Matrix: archives of its REST API, exports of rooms and users, dumps of others' tools. */
export const gitter: Format = {
  name: 'gitter',
  title: 'Gitter archive',
  async recognize(source) {
    for (const { name } of source.entries) {
      if (/gitter-(room|user)-[a-z-]+-\d{4}-\d+-\d+\.ndjson$/.test(name))
        return { sure: 0.95, why: `${name} is named as Gitter names its exports` }
    }
    for (const { name } of source.entries.slice(0, 200)) {
      if ((await kindOf(source, name)) === 'messages')
        return { sure: 0.8, why: `${name} has messages as Gitter's API gives them` }
    }
    return undefined
  },
  async *read(source, context) {
    const reader = new GitterReader(context)
    const files: { name: string; kind: FileKind }[] = []
    for (const { name } of source.entries) {
      const kind = await kindOf(source, name)
      if (kind !== undefined) files.push({ name, kind })
    }
    // Rooms first, as files of messages are named by what rooms are called.
    for (const first of [true, false])
      for (const { name, kind } of files)
        if ((kind === 'rooms') === first) yield* reader.file(source, name, kind)
  },
}

const mostRemembered = 50_000
const integration = 'integration'

class GitterReader {
  readonly #context: ReadContext
  /** People who were told already; forgotten now and then, as telling twice does no harm. */
  readonly #told = new Set<string>()
  /** IDs of rooms by their names. */
  readonly #rooms = new Map<string, string>()

  constructor(context: ReadContext) {
    this.#context = context
  }

  async *file(source: Source, name: string, kind: FileKind): AsyncGenerator<Item> {
    const room = roomOf(source, name)
    const lines = /\.ndjson$/i.test(name)
      ? readNdjson(source, name, this.#context)
      : readJson(source, name, ['messages', 'users', 'rooms'], this.#context)
    for await (const { value, place } of lines) {
      if (kind === 'users') yield* this.#person(value)
      else if (kind === 'rooms') yield* this.#room(value)
      else if (isFields(value)) yield* this.#message(value, room, place, kind)
      else this.#malformed('A message was expected here', place)
    }
  }

  *#message(value: Fields, fileRoom: string, place: Place, kind: FileKind): Generator<Item> {
    const own = id(value, 'id') ?? id(value, '_id')
    const room =
      id(value, 'toTroupeId') ??
      id(value, 'roomId') ??
      id(value, 'room') ??
      id(fields(value, 'room'), 'id') ??
      this.#rooms.get(fileRoom) ??
      fileRoom
    if (own === undefined) return this.#malformed('The message has no ID', place, { room })
    if (isFields(value['virtualUser'])) {
      this.#context.problem({
        class: 'bridged',
        reason: 'It came from Matrix over the bridge',
        place,
        room,
        id: own,
        done: 'left_out',
      })
      return
    }
    const author = fields(value, 'fromUser')
    yield* this.#person(author)
    const webhook = kind === 'integration-events' || isFields(value['meta'])
    const sender = id(author, 'id') ?? id(value, 'fromUser') ?? id(value, 'fromUserId')
    const message: Message = {
      kind: 'message',
      room,
      id: own,
      sender: sender ?? integration,
      time: this.#timeOf(value, own, room, place),
      order: own,
      place,
      ...contentOf(value, author),
    }
    const thread = id(value, 'parentId')
    if (thread !== undefined) message.thread = thread
    const edited = Date.parse(text(value, 'editedAt') ?? '')
    if (!Number.isNaN(edited) && !message.deleted) message.editedAt = edited
    if (sender === undefined) {
      yield* this.#person({ id: integration, displayName: 'Integration' }, true)
      message.form = 'notice'
      const name = text(fields(value, 'meta'), 'service')
      if (name) message.shownAs = { name }
    } else if (webhook) message.form = 'notice'
    yield message
  }

  /** `sent`; where it is none, the second that every ID of Gitter begins with. */
  #timeOf(value: unknown, own: string, room: string, place: Place): number {
    const sent = Date.parse(text(value, 'sent') ?? '')
    if (!Number.isNaN(sent)) return sent
    if (!/^[0-9a-f]{24}$/i.test(own)) return Number.NaN
    this.#context.problem({
      class: 'bad_time',
      reason: 'The date is none; the second of the ID was taken',
      place,
      room,
      id: own,
      done: 'degraded',
    })
    return Number.parseInt(own.slice(0, 8), 16) * 1000
  }

  *#room(value: unknown): Generator<Item> {
    const room = roomItem(value)
    if (!room) return
    if (room.name !== undefined && room.type !== 'direct') this.#rooms.set(room.name, room.id)
    yield room
  }

  *#person(value: unknown, bot = false): Generator<Person> {
    const own = id(value, 'id') ?? id(value, '_id')
    if (own === undefined || this.#told.has(own)) return
    this.#remember(own)
    const username = text(value, 'username')
    const name = text(value, 'displayName')
    const avatar = text(value, 'avatarUrl')
    yield {
      kind: 'person',
      id: own,
      ...(username !== undefined && { username }),
      ...(name && { name }),
      ...(avatar && /^https?:/.test(avatar) && { avatar: { url: avatar } }),
      ...(bot && { bot }),
      ...((flag(value, 'removed') || /^(ghost|removed)~/.test(username ?? '')) && {
        removed: true,
      }),
    }
  }

  #remember(key: string): void {
    if (this.#told.size >= mostRemembered) this.#told.clear()
    this.#told.add(key)
  }

  #malformed(reason: string, place: Place, named: { room?: string } = {}): void {
    this.#context.problem({ class: 'malformed', reason, place, ...named, done: 'skipped' })
  }
}

/** The text of a message. One that was deleted has none, and is kept only if a thread hangs on it. */
function contentOf(
  value: unknown,
  author: unknown,
): Pick<Message, 'body' | 'html' | 'mentions' | 'mentionsRoom' | 'form' | 'deleted'> {
  const source = text(value, 'text') ?? ''
  const html = text(value, 'html') ?? ''
  if (source === '' && html === '') return { body: '', deleted: true }
  if (source === '') return { body: plainOf(html), html }
  if (!flag(value, 'status')) return textOf(value, source)
  // `/me` has the name of its author in front, which clients show themselves.
  const name = text(author, 'username')
  const rest =
    name !== undefined && source.toLowerCase().startsWith(`@${name.toLowerCase()} `)
      ? source.slice(name.length + 2)
      : source.replace(/^@\S+ /, '')
  const { mentions = [], ...said } = textOf(value, rest)
  const own = id(author, 'id')
  const others = mentions.filter((each) => each !== own)
  return { ...said, ...(others.length > 0 && { mentions: others }), form: 'emote' }
}

function roomItem(value: unknown): Room | undefined {
  const own = id(value, 'id')
  if (own === undefined) return undefined
  const users = list(value, 'users')
  const direct = flag(value, 'oneToOne') ?? false
  const partners = users.map((each) => text(each, 'displayName') ?? text(each, 'username') ?? '')
  const name =
    text(value, 'uri') ?? (text(value, 'name') || undefined) ?? partners.filter(Boolean).join(', ')
  const topic = text(value, 'topic')
  return {
    kind: 'room',
    id: own,
    ...(name && { name }),
    ...(topic && { topic }),
    type: direct ? 'direct' : (flag(value, 'public') ?? true) ? 'public' : 'private',
    ...(users.length > 0 && {
      members: users.map((each) => id(each, 'id')).filter((each) => each !== undefined),
    }),
    ...((number(value, 'userCount') ?? 1) === 0 && { archived: true }),
  }
}

import type {
  Attachment,
  Item,
  Message,
  Place,
  ReadContext,
  Reactions,
  Room,
  Text,
} from '#importers/format.ts'
import { escapeHtml } from '#importers/markup/html.ts'
import { joined } from '#importers/markup/joined.ts'
import { type Fields, id as idOf, isFields, list, number, text } from '#importers/read/fields.ts'
import type { Scratch } from '#importers/read/scratch.ts'
import { type ZulipNames, zulipText } from './markdown.ts'
import { type Realm, streamRoom } from './realm.ts'
import type { Topics } from './topics.ts'

type Home = { room: string; stream?: string }

/** Reads the messages of one file after another. */
export class MessageReader {
  readonly #realm: Realm
  readonly #topics: Topics
  readonly #context: ReadContext
  readonly #names: ZulipNames
  readonly #reactionsTo: (message: string) => { person: string; key: string }[]
  /** Rooms that messages alone tell of. */
  readonly #made = new Set<string>()

  constructor(realm: Realm, topics: Topics, scratch: Scratch, context: ReadContext) {
    this.#realm = realm
    this.#topics = topics
    this.#context = context
    this.#names = {
      person: (name) => realm.personNamed(name),
      channel: (name) => realm.streamNamed(name),
    }
    const found = scratch.db.query<{ person: string; key: string }, [string]>(
      'select person, key from reactions where message = ? order by rowid',
    )
    this.#reactionsTo = (message) => found.all(message)
  }

  *read(value: unknown, place: Place): Generator<Item> {
    const id = idOf(value, 'id')
    const sender = idOf(value, 'sender')
    const recipient = idOf(value, 'recipient')
    if (!isFields(value) || id === undefined || recipient === undefined) {
      const reason = 'A message without an ID or a recipient'
      const which = id === undefined ? {} : { id }
      this.#context.problem({ class: 'malformed', reason, place, ...which, done: 'skipped' })
      return
    }
    const home = yield* this.#homeOf(recipient, sender, id, place)
    if (!home) return
    const stamp: Stamp = {
      room: home.room,
      place,
      id,
      sender: sender ?? 'unknown',
      time: (number(value, 'date_sent') ?? Number.NaN) * 1000,
      order: id.padStart(16, '0'),
    }
    yield this.#message(value, stamp, home)
  }

  *#homeOf(
    recipient: string,
    sender: string | undefined,
    id: string,
    place: Place,
  ): Generator<Room, Home | undefined> {
    const known = this.#realm.recipient(recipient)
    if (known?.type === 2) {
      const room = streamRoom(known.typeId)
      if (!this.#realm.hasStream(known.typeId))
        yield* this.#make({ kind: 'room', id: room, name: known.typeId, type: 'private' })
      return { room, stream: known.typeId }
    }
    if (known?.type === 1 || known?.type === 3) {
      // Between two, chats were of the first kind in older versions and are of the third in newer ones.
      const own = known.type === 1 ? [known.typeId] : this.#realm.members(recipient)
      const members = [...new Set([...own, ...(sender === undefined ? [] : [sender])])]
      members.sort((one, other) => Number(one) - Number(other))
      const room = `direct:${members.join(',')}`
      yield* this.#make({ kind: 'room', id: room, type: 'direct', members })
      return { room }
    }
    const reason = `Nothing is known of recipient ${recipient}, to whom it was sent`
    this.#context.problem({ class: 'malformed', reason, place, id, done: 'skipped' })
    return undefined
  }

  *#make(room: Room): Generator<Room> {
    if (this.#made.has(room.id)) return
    this.#made.add(room.id)
    yield room
  }

  #message(value: Fields, stamp: Stamp, home: Home): Message {
    const topic = home.stream === undefined ? undefined : topicOf(value)
    const thread = topic === undefined ? undefined : this.#topics.root(home.room, topic)
    const content = text(value, 'content') ?? ''
    const { source, files } = this.#uploads(content)
    const isEmote = source.startsWith('/me ')
    // Who begins a topic names it, in a field of its own.
    const title = thread === stamp.id && topic !== undefined ? [titleText(topic)] : []
    const words = (each: string) =>
      joined([...title, this.#words(each)].filter(({ body }) => body !== ''))
    const shown = words(isEmote ? source.slice(4) : source)
    const reactions = this.#reactions(stamp.id)
    const edits = editsOf(value, stamp.time, words)
    const replyTo = home.stream === undefined ? undefined : quotedOf(content, home.stream)
    if (shown.body === '' && !files.length) {
      const reason = 'There is nothing in it that can be shown'
      const { room, id, place } = stamp
      this.#context.problem({
        class: 'unsupported_type',
        reason,
        place,
        room,
        id,
        done: 'degraded',
      })
      shown.body = '(empty message)'
    }
    return {
      kind: 'message',
      ...stamp,
      ...shown,
      ...(isEmote && { form: 'emote' }),
      ...(thread !== undefined && thread !== stamp.id && { thread }),
      ...(replyTo !== undefined && { replyTo }),
      ...(files.length > 0 && { files }),
      ...(reactions.length > 0 && { reactions }),
      ...edits,
    }
  }

  #words(source: string): Text {
    return zulipText(source, this.#names)
  }

  /** Files are links in the text: they are attached, and a line that was only such a link is no text. */
  #uploads(content: string): { source: string; files: Attachment[] } {
    const files: Attachment[] = []
    const labels: string[] = []
    const marked = content.replace(
      uploadLink,
      (_, label?: string, linked?: string, bare?: string) => {
        const path = decoded(linked ?? bare ?? '')
        const last = path.split('/').at(-1) || 'file'
        // The label is the name as it was uploaded, unless somebody wrote another.
        const name = label && /\.\w+$/.test(label) ? label : last
        const entry = this.#realm.upload(path)
        const content =
          entry === undefined ? { gone: 'The file is not in the export' } : { content: { entry } }
        files.push({ name, ...content })
        return `${markStart}${labels.push(label || name) - 1}${markEnd}`
      },
    )
    if (!files.length) return { source: content, files }
    const lines = marked.split('\n').filter((line) => !onlyMarks.test(line))
    const named = lines.join('\n').replace(oneMark, (_, at: string) => labels[Number(at)] ?? '')
    return { source: named.trim(), files }
  }

  #reactions(message: string): Reactions[] {
    const byKey = new Map<string, string[]>()
    for (const { key, person } of this.#reactionsTo(message))
      byKey.set(key, [...(byKey.get(key) ?? []), person])
    return [...byKey].map(([key, people]) => ({ key, people }))
  }
}

const uploadLink =
  /!?\[([^\]\n]*)\]\((?:https?:\/\/[^/\s()]+)?\/user_uploads\/([^)\s]+)\)|(?<![\w(/])\/user_uploads\/(\S+)/g

/** Stand around the number of a file in a text while that is taken apart: by themselves they mean nothing. */
const markStart = '\uE000'
const markEnd = '\uE001'
const oneMark = /\uE000(\d+)\uE001/g
const onlyMarks = /^\s*(?:\uE000\d+\uE001\s*)+$/

type Stamp = {
  room: string
  place: Place
  id: string
  sender: string
  time: number
  order: string
}

function decoded(path: string): string {
  try {
    return decodeURIComponent(path)
  } catch {
    return path
  }
}

/** Messages without a topic stand in the channel itself. */
export function topicOf(value: unknown): string | undefined {
  const topic = text(value, 'subject')?.trim()
  return !topic || topic === '(no topic)' || topic === '\u0007' ? undefined : topic
}

const titleText = (topic: string): Text => ({
  body: topic,
  html: `<strong>${escapeHtml(topic)}</strong>`,
})

/** Quoting somebody is how one answers: the quote names the message, of this channel or another. */
function quotedOf(content: string, stream: string): string | undefined {
  const link =
    /^@_\*\*[^*\n]+\*\* \[said\]\(\S*#narrow\/(?:stream|channel)\/(\d+)[^\s)]*\/(?:near|with)\/(\d+)\):/
  const [, channel, message] = link.exec(content) ?? []
  return channel === stream ? message : undefined
}

/** The history says what stood there before each change, the newest first; some changes are of the topic only. */
function editsOf(
  value: Fields,
  sent: number,
  render: (source: string) => Text,
): Pick<Message, 'editedAt' | 'earlier'> {
  const history = parsed(text(value, 'edit_history'))
  const changes = list({ history }, 'history')
    .filter((each) => text(each, 'prev_content') !== undefined)
    .map((each) => ({
      before: text(each, 'prev_content')!,
      time: (number(each, 'timestamp') ?? Number.NaN) * 1000,
      editor: idOf(each, 'user_id') ?? idOf(each, 'user'),
    }))
    .filter(({ time }) => !Number.isNaN(time))
    .sort((one, other) => one.time - other.time)
  const last = (number(value, 'last_edit_time') ?? 0) * 1000
  if (!changes.length) return history === undefined && last > 0 ? { editedAt: last } : {}
  return {
    editedAt: changes.at(-1)!.time,
    earlier: changes.map(({ before }, at) => {
      const made = changes[at - 1]
      return {
        ...render(before),
        time: made?.time ?? sent,
        ...(made?.editor !== undefined && { editor: made.editor }),
      }
    }),
  }
}

function parsed(json: string | undefined): unknown {
  if (!json) return undefined
  try {
    return JSON.parse(json)
  } catch {
    return undefined
  }
}

import type {
  Attachment,
  Item,
  Message,
  Notice,
  Place,
  ReadContext,
  Text,
} from '#importers/format.ts'
import { boxText } from '#importers/markup/box.ts'
import { emojiOf } from '#importers/markup/emoji.ts'
import { joined, quoted } from '#importers/markup/joined.ts'
import { type Fields, fields, flag, isFields, list, number, text } from '#importers/read/fields.ts'
import type { Scratch } from '#importers/read/scratch.ts'
import { type Directory, channelId, directId, membersOf } from './directory.ts'
import { type MattermostNames, mattermostText } from './markdown.ts'

export const seenSchema = 'create table seen (key integer primary key, times integer not null)'

/** What system posts tell; all others of them tell something else. */
const happened: Readonly<Record<string, Notice['about']>> = {
  system_join_channel: 'join',
  system_add_to_channel: 'join',
  system_guest_join_channel: 'join',
  system_add_guest_to_chan: 'join',
  system_join_team: 'join',
  system_add_to_team: 'join',
  system_join_leave: 'join',
  system_add_remove: 'join',
  system_leave_channel: 'leave',
  system_remove_from_channel: 'leave',
  system_leave_team: 'leave',
  system_remove_from_team: 'leave',
  system_displayname_change: 'name',
  system_header_change: 'topic',
  system_purpose_change: 'topic',
  custom_calls: 'call',
}

/** Types that are what somebody said. */
const said = new Set(['', 'me', 'slack_attachment', 'reminder', 'custom_llmbot'])

type Room = { id: string; names: MattermostNames }
type Stamp = { room: string; place: Place; id: string; sender: string; time: number }

/** Reads posts, each with the replies to it. */
export class PostReader {
  readonly #directory: Directory
  readonly #context: ReadContext
  readonly #count: (key: bigint) => number

  constructor(directory: Directory, seen: Scratch, context: ReadContext) {
    this.#directory = directory
    this.#context = context
    const count = seen.db.query<{ times: number }, [bigint]>(
      'insert into seen values (?, 1) on conflict do update set times = times + 1 returning times',
    )
    this.#count = (key) => count.get(BigInt.asIntN(64, key))!.times
  }

  *read(post: Fields, place: Place, direct: boolean): Generator<Item> {
    const room = direct ? this.#directRoom(post) : this.#channel(post, place)
    if (!room) return this.#lost('A post that does not say where it was written', place)
    yield* this.#directory.rest()
    const root = yield* this.#one(post, place, room, undefined)
    for (const reply of list(post, 'replies')) {
      if (isFields(reply)) yield* this.#one(reply, place, room, root)
      else this.#lost('A reply that is no object', place, room.id)
    }
  }

  #lost(reason: string, place: Place, room?: string): void {
    const where = room === undefined ? {} : { room }
    this.#context.problem({ class: 'malformed', reason, place, ...where, done: 'skipped' })
  }

  #directRoom(post: Fields): Room | undefined {
    const members = membersOf(post)
    if (!members.length) return undefined
    const id = directId(members)
    this.#directory.addUnlisted(id, 'direct', members)
    return { id, names: this.#names('') }
  }

  #channel(post: Fields, place: Place): Room | undefined {
    const team = text(post, 'team') ?? ''
    const name = text(post, 'channel')
    if (!name) return undefined
    const id = channelId(team, name)
    if (!this.#directory.hasChannel(id)) {
      const reason = `The channel ${id} is not listed: it becomes a private room`
      this.#context.problem({ class: 'malformed', reason, place, room: id, done: 'degraded' })
      this.#directory.addUnlisted(id, 'private', [], name)
    }
    return { id, names: this.#names(team) }
  }

  #names(team: string): MattermostNames {
    return {
      person: (username) => this.#directory.hasPerson(username),
      channel: (name) => {
        const id = channelId(team, name)
        return this.#directory.hasChannel(id) ? id : undefined
      },
    }
  }

  /** One post or reply; returns its ID. */
  *#one(
    post: Fields,
    place: Place,
    room: Room,
    thread: string | undefined,
  ): Generator<Item, string> {
    const sender = text(post, 'user') || 'unknown'
    const time = number(post, 'create_at') ?? Number.NaN
    const stamp: Stamp = {
      room: room.id,
      place,
      id: this.#idOf(room.id, sender, time),
      sender,
      time,
    }
    const type = text(post, 'type') ?? ''
    const about = Object.hasOwn(happened, type)
      ? happened[type]
      : type.startsWith('system_')
        ? 'other'
        : undefined
    if (about !== undefined) {
      const body = mattermostText(text(post, 'message') ?? '', room.names)
      // Plugins post without text: their kind says what it was.
      if (body.body === '') body.body = `(${type.replaceAll('_', ' ')})`
      yield { kind: 'notice', about, ...stamp, ...body }
      return stamp.id
    }
    if (!said.has(type))
      this.#degraded(stamp, `Posts of type ${type} are not known: it is taken as text`)
    yield this.#message(post, type, stamp, room, thread)
    return stamp.id
  }

  /**
   * Posts have no IDs in the export. Two of one person in one millisecond (bots do that) are told apart by
   * the order in which they stand.
   */
  #idOf(room: string, sender: string, time: number): string {
    const key = `${time}-${sender}`
    const times = this.#count(Bun.hash.wyhash(`${room}\n${key}`))
    return times === 1 ? key : `${key}-${times}`
  }

  #degraded({ place, room, id }: Stamp, reason: string): void {
    this.#context.problem({ class: 'unsupported_type', reason, place, room, id, done: 'degraded' })
  }

  #message(
    post: Fields,
    type: string,
    stamp: Stamp,
    room: Room,
    thread: string | undefined,
  ): Message {
    const props = fields(post, 'props')
    const isBot = [props['from_webhook'], props['from_bot']].some((each) => String(each) === 'true')
    const files = list(post, 'attachments')
      .filter(isFields)
      .map((each) => this.#file(each))
    const words = wordsOf(post, type, props, room.names)
    const edited = number(post, 'edit_at') ?? 0
    const reactions = list(post, 'reactions').flatMap((reaction) => {
      const name = text(reaction, 'emoji_name')
      const person = text(reaction, 'user')
      const time = number(reaction, 'create_at')
      if (!name || !person) return []
      return [{ key: emojiOf(name) ?? `:${name}:`, people: [person], ...(time && { time }) }]
    })
    const deleted = (number(post, 'delete_at') ?? 0) > 0
    if (words.body === '' && !files.length && !deleted) {
      this.#degraded(stamp, 'There is nothing in it that can be shown')
      words.body = '(empty message)'
    }
    const shownAs = isBot ? shownAsOf(props) : undefined
    return {
      kind: 'message',
      ...stamp,
      ...words,
      ...(type === 'me' && { form: 'emote' }),
      ...(isBot && { form: 'notice' }),
      ...(shownAs && { shownAs }),
      ...(thread !== undefined && { thread }),
      ...(files.length > 0 && { files }),
      ...(reactions.length > 0 && { reactions }),
      ...(edited > 0 && { editedAt: edited }),
      ...(flag(post, 'is_pinned') && { pinned: true }),
      ...(deleted && { deleted: true }),
    }
  }

  #file(value: Fields): Attachment {
    const path = text(value, 'path') ?? ''
    const name = path.replaceAll('\\', '/').split('/').at(-1) || 'file'
    const entry = this.#directory.entryOf(path)
    if (entry !== undefined) return { name, content: { entry } }
    return { name, gone: 'It is not in the export, which may have been made without attachments' }
  }
}

function shownAsOf(props: Fields): Message['shownAs'] {
  const name = text(props, 'override_username') || text(props, 'webhook_display_name')
  const url = text(props, 'override_icon_url')
  const avatar = url !== undefined && /^https?:/.test(url) ? { url } : undefined
  if (!name && !avatar) return undefined
  return { ...(name && { name }), ...(avatar && { avatar }) }
}

function wordsOf(post: Fields, type: string, props: Fields, names: MattermostNames): Text {
  const message = text(post, 'message') ?? ''
  // What somebody does is written in italics.
  const source = type === 'me' ? message.replace(/^\*([^]*)\*$/, '$1') : message
  const render = (each: string) => mattermostText(each, names)
  const boxes = list(props, 'attachments')
    .filter(isFields)
    .flatMap((box) => boxTexts(box, render))
  return joined([render(source), ...boxes].filter(({ body }) => body !== ''))
}

/** A box as Slack has them, with Markdown in it. */
function boxTexts(box: Fields, render: (source: string) => Text): Text[] {
  const before = render(text(box, 'pretext') ?? '')
  const inner = boxText(
    {
      author: text(box, 'author_name'),
      authorUrl: text(box, 'author_link'),
      title: text(box, 'title'),
      titleUrl: text(box, 'title_link'),
      text: text(box, 'text'),
      fields: list(box, 'fields').map((field) => ({
        name: text(field, 'title') ?? '',
        value: text(field, 'value') ?? String(number(field, 'value') ?? ''),
      })),
      images: [text(box, 'image_url')],
      footer: text(box, 'footer'),
    },
    render,
  )
  if (before.body !== '' || inner.body !== '') return [before, inner]
  return [quoted([render(text(box, 'fallback') ?? '')])]
}

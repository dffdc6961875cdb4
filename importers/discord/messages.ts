import type {
  Attachment,
  Item,
  Message,
  Notice,
  Place,
  Reactions,
  ReadContext,
  Text,
} from '#importers/format.ts'
import { emojiKey } from '#importers/markup/emoji.ts'
import { escapeHtml } from '#importers/markup/html.ts'
import { joined, quoted } from '#importers/markup/joined.ts'
import {
  type Fields,
  fields,
  flag,
  id as idOf,
  isFields,
  list,
  number,
  text,
} from '#importers/read/fields.ts'
import type { Source } from '#importers/source.ts'
import { embedTexts } from './embeds.ts'
import type { Channel } from './exports.ts'
import { type DiscordNames, type Mentioned, discordText } from './markdown.ts'
import { type People, contentOf } from './people.ts'

/** Where the messages of a file go: a room, and a thread of it; `title` is told with the thread's first message. */
export type Home = { room: string; thread?: string; title?: string }

/** Types that are what somebody said. The exporter writes those that it has no name for as numbers. */
const said = new Set(['Default', 'Reply', '0', '19', '20', '23', '24'])

/** Types that tell what happened, and in what words if the export has none. */
const happened: Readonly<Record<string, [about: Notice['about'], words: string]>> = {
  RecipientAdd: ['join', 'Added somebody to the group.'],
  RecipientRemove: ['leave', 'Removed somebody from the group.'],
  Call: ['call', 'Started a call.'],
  ChannelNameChange: ['name', 'Changed the name of the channel.'],
  ChannelIconChange: ['other', 'Changed the icon of the channel.'],
  ChannelPinnedMessage: ['pin', 'Pinned a message.'],
  GuildMemberJoin: ['join', 'Joined the server.'],
  ThreadCreated: ['other', 'Started a thread.'],
  8: ['other', 'Boosted the server.'],
  9: ['other', 'Boosted the server, which reached level 1.'],
  10: ['other', 'Boosted the server, which reached level 2.'],
  11: ['other', 'Boosted the server, which reached level 3.'],
  12: ['other', 'Follows a channel from here.'],
  27: ['call', 'Started a stage.'],
  28: ['call', 'Ended a stage.'],
  29: ['call', 'Speaks on the stage.'],
  31: ['topic', 'Changed the topic of the stage.'],
  46: ['other', 'A poll has ended.'],
}

/** When an ID was made, in milliseconds. */
export function snowflakeTime(id: string): number {
  return /^\d{15,20}$/.test(id) ? Number(BigInt(id) >> 22n) + 1420070400000 : Number.NaN
}

/** Reads the messages of one export after another. */
export class MessageReader {
  readonly #source: Source
  readonly #people: People
  readonly #channels: ReadonlyMap<string, Channel>
  readonly #context: ReadContext
  readonly #names: DiscordNames
  /** By the IDs of threads: the messages that they hang from, where those were seen. */
  readonly #roots = new Map<string, string>()

  constructor(
    source: Source,
    people: People,
    channels: ReadonlyMap<string, Channel>,
    context: ReadContext,
  ) {
    this.#source = source
    this.#people = people
    this.#channels = channels
    this.#context = context
    this.#names = {
      person: (id) => people.name(id),
      role: (id) => people.role(id),
      channel: (id) => channels.get(id)?.name,
    }
  }

  rootOf(thread: string): string | undefined {
    return this.#roots.get(thread)
  }

  *read(value: unknown, place: Place, home: Home): Generator<Item> {
    const id = idOf(value, 'id')
    if (!isFields(value) || id === undefined) {
      const reason = 'A message without an ID'
      this.#context.problem({ class: 'malformed', reason, place, room: home.room, done: 'skipped' })
      return
    }
    const type = text(value, 'type') ?? String(number(value, 'type') ?? 'Default')
    // A thread begins with a copy of the message that it was begun from.
    if (type === '21') return
    this.#rememberRoot(id, type, value)
    const author = fields(value, 'author')
    for (const user of usersOf(value)) yield* this.#people.meet(user, place.file)
    const stamp: Stamp = {
      room: home.room,
      place,
      id,
      sender: idOf(author, 'id') ?? 'unknown',
      time: this.#timeOf(value, id, place, home),
      // IDs count up, whichever way round the export was written.
      order: id.padStart(20, '0'),
    }
    const about = Object.hasOwn(happened, type) ? happened[type] : undefined
    if (about) {
      yield* this.#notice(value, about, stamp)
      return
    }
    if (!said.has(type))
      this.#degraded(stamp, `Messages of type ${type} are not known: it is taken as text`)
    yield this.#message(value, author, stamp, home)
  }

  /** A thread has the ID of its first message; where it has none, a line in the channel refers to it. */
  #rememberRoot(id: string, type: string, value: Fields): void {
    if (this.#channels.get(id)?.parent) this.#roots.set(id, id)
    const created = idOf(fields(value, 'reference'), 'channelId')
    if (type !== 'ThreadCreated' || created === undefined || this.#roots.has(created)) return
    if (this.#channels.get(created)?.parent) this.#roots.set(created, id)
  }

  #timeOf(value: Fields, id: string, place: Place, { room }: Home): number {
    const time = Date.parse(text(value, 'timestamp') ?? '')
    const made = snowflakeTime(id)
    if (!Number.isNaN(time) || Number.isNaN(made)) return time
    const reason = 'It has no time that can be read: it gets that of its ID'
    this.#context.problem({ class: 'bad_time', reason, place, room, id, done: 'degraded' })
    return made
  }

  #degraded({ place, room, id }: Stamp, reason: string): void {
    this.#context.problem({ class: 'unsupported_type', reason, place, room, id, done: 'degraded' })
  }

  *#notice(
    value: Fields,
    [about, words]: [Notice['about'], string],
    stamp: Stamp,
  ): Generator<Item> {
    const content = text(value, 'content') || words
    const pinned = about === 'pin' ? idOf(fields(value, 'reference'), 'messageId') : undefined
    yield {
      kind: 'notice',
      about,
      ...stamp,
      body: content,
      ...(pinned !== undefined && { replyTo: pinned }),
    }
    for (const { key, people } of reactionsOf(value)) {
      for (const sender of people) {
        const id = `${stamp.id}:${key}:${sender}`
        yield { kind: 'reaction', ...stamp, id, sender, target: stamp.id, key }
      }
    }
  }

  #message(value: Fields, author: Fields, stamp: Stamp, home: Home): Message {
    const isBot = flag(author, 'isBot') === true
    const files = this.#filesOf(value, stamp.place.file)
    const shownAs = isBot ? this.#people.shownAs(author) : undefined
    const editedAt = Date.parse(text(value, 'timestampEdited') ?? '')
    const reactions = reactionsOf(value)
    const replyTo = this.#repliedTo(value, home.room)
    const begins = home.thread === stamp.id
    const words = this.#words(value, isBot, begins ? home.title : undefined)
    if (words.body === '' && !files.length) {
      this.#degraded(stamp, 'There is nothing in it that can be shown')
      words.body = '(empty message)'
    }
    return {
      kind: 'message',
      ...stamp,
      ...words,
      ...(isBot && { form: 'notice' }),
      ...(shownAs && { shownAs }),
      ...(home.thread !== undefined && !begins && { thread: home.thread }),
      ...(replyTo !== undefined && { replyTo }),
      ...(files.length > 0 && { files }),
      ...(reactions.length > 0 && { reactions }),
      ...(!Number.isNaN(editedAt) && { editedAt }),
      ...(flag(value, 'isPinned') && { pinned: true }),
    }
  }

  /** A reply to a message of another room cannot be one in Matrix. */
  #repliedTo(value: Fields, room: string): string | undefined {
    const reference = fields(value, 'reference')
    const channel = idOf(reference, 'channelId')
    const home = channel === undefined ? room : (this.#channels.get(channel)?.parent?.id ?? channel)
    if (home !== room || text(reference, 'type') === 'Forward') return undefined
    return idOf(reference, 'messageId')
  }

  #words(value: Fields, isBot: boolean, title: string | undefined): Text {
    const mentioned: Mentioned[] = list(value, 'mentions').flatMap((user) => {
      const id = idOf(user, 'id')
      const names = [text(user, 'nickname'), text(user, 'name')].filter((name) => !!name)
      return id === undefined ? [] : [{ id, names: names as string[] }]
    })
    const render = (source: string) => discordText(source, this.#names, mentioned)
    const used = fields(value, 'interaction')
    const forwarded = fields(value, 'forwardedMessage')
    const parts: Text[] = [
      title ? { body: title, html: `<strong>${escapeHtml(title)}</strong>` } : none,
      text(used, 'name')
        ? render(`<@${idOf(used['user'], 'id') ?? '0'}> used /${text(used, 'name')}`)
        : none,
      render(text(value, 'content') ?? ''),
      this.#forwarded(forwarded, render),
      ...embedTexts(value, isBot, render),
    ]
    return joined(parts.filter(({ body }) => body !== ''))
  }

  #forwarded(forwarded: Fields, render: (source: string) => Text): Text {
    if (!Object.keys(forwarded).length) return none
    const parts = [render(text(forwarded, 'content') ?? ''), ...embedTexts(forwarded, true, render)]
    const inner = quoted(parts.filter(({ body }) => body !== ''))
    if (inner.body === '') return { body: 'Forwarded' }
    return joined([{ body: 'Forwarded:' }, inner])
  }

  #filesOf(value: Fields, file: string): Attachment[] {
    const forwarded = fields(value, 'forwardedMessage')
    return [value, forwarded].flatMap((holder) => [
      ...list(holder, 'attachments')
        .filter(isFields)
        .map((each) => this.#file(each, 'url', file)),
      ...list(holder, 'stickers')
        .filter(isFields)
        .map((each) => this.#file(each, 'sourceUrl', file)),
    ])
  }

  #file(value: Fields, where: string, file: string): Attachment {
    const url = text(value, where)
    const content = contentOf(this.#source, file, url)
    const size = number(value, 'fileSizeBytes')
    const path = (url ?? '').replace(/[?#].*$/, '')
    const ending = /\.[a-z0-9]{1,5}$/i.exec(path)?.[0] ?? ''
    const sticker = text(value, 'name')
    return {
      name: text(value, 'fileName') || (sticker ? `${sticker}${ending}` : 'file'),
      ...(content
        ? { content }
        : {
            gone: url
              ? `The export refers to ${url}, which is not in it`
              : 'The export does not say where the file is',
          }),
      ...(size !== undefined && size > 0 && Number.isSafeInteger(size) && { size }),
    }
  }
}

const none: Text = { body: '' }

type Stamp = {
  room: string
  place: Place
  id: string
  sender: string
  time: number
  order: string
}

/** Everybody that a message tells something of. */
const usersOf = (value: Fields): unknown[] => [
  value['author'],
  ...list(value, 'mentions'),
  ...list(value, 'reactions').flatMap((reaction) => list(reaction, 'users')),
  fields(value, 'interaction')['user'],
]

function reactionsOf(value: Fields): Reactions[] {
  return list(value, 'reactions').flatMap((reaction) => {
    const emoji = fields(reaction, 'emoji')
    const name = text(emoji, 'name') ?? text(emoji, 'code')
    if (!name) return []
    const people = list(reaction, 'users').flatMap((user) => idOf(user, 'id') ?? [])
    const count = number(reaction, 'count') ?? 0
    const key = idOf(emoji, 'id') === undefined ? emojiKey(name) : `:${name}:`
    return [{ key, people, ...(count > people.length && { count }) }]
  })
}

import type {
  Item,
  Message,
  Notice,
  Place,
  Problem,
  ReadContext,
  Reactions,
} from '#importers/format.ts'
import { emojiOf } from '#importers/markup/emoji.ts'
import { type Block, toText } from '#importers/markup/rich-text.ts'
import {
  type Fields,
  fields,
  id as idOf,
  isFields,
  list,
  number,
  text,
  texts,
} from '#importers/read/fields.ts'
import type { Source } from '#importers/source.ts'
import { parseAttachments } from './attachments.ts'
import { parseBlocks } from './blocks.ts'
import type { Conversation, Conversations } from './conversations.ts'
import { Files, filesOf } from './files.ts'
import { type SlackNames, parseMrkdwn } from './mrkdwn.ts'
import type { People } from './people.ts'

/** Subtypes that are what somebody said. */
const said = new Set([
  'bot_message',
  'me_message',
  'thread_broadcast',
  'reply_broadcast',
  'file_share',
  'file_comment',
  'file_mention',
  'slackbot_response',
  'assistant_app_thread',
  'tombstone',
])

/** Subtypes that tell what happened. */
const happened: Readonly<Record<string, Notice['about']>> = {
  channel_join: 'join',
  group_join: 'join',
  app_conversation_join: 'join',
  channel_leave: 'leave',
  group_leave: 'leave',
  app_conversation_leave: 'leave',
  channel_name: 'name',
  group_name: 'name',
  channel_topic: 'topic',
  group_topic: 'topic',
  channel_purpose: 'topic',
  group_purpose: 'topic',
  pinned_item: 'pin',
  unpinned_item: 'pin',
  sh_room_created: 'call',
  huddle_thread: 'call',
  channel_archive: 'other',
  channel_unarchive: 'other',
  group_archive: 'other',
  group_unarchive: 'other',
  channel_convert_to_private: 'other',
  channel_convert_to_public: 'other',
  channel_posting_permissions: 'other',
  channel_canvas_updated: 'other',
  bot_add: 'other',
  bot_remove: 'other',
  bot_enable: 'other',
  bot_disable: 'other',
  reminder_add: 'other',
  reminder_delete: 'other',
  joiner_notification: 'other',
  joiner_notification_for_inviter: 'other',
}

/** Milliseconds of a `ts`, whose microseconds order messages within the millisecond. */
export function timeOf(ts: string | undefined): number {
  const [, seconds, fraction = ''] = /^(\d{1,12})(?:\.(\d+))?$/.exec(ts ?? '') ?? []
  if (seconds === undefined) return Number.NaN
  return Number(seconds) * 1000 + Number(fraction.padEnd(6, '0').slice(0, 6)) / 1000
}

/** Reads the messages of day files. */
export class MessageReader {
  readonly #files: Files
  readonly #people: People
  readonly #names: SlackNames
  readonly #context: ReadContext

  constructor(source: Source, people: People, conversations: Conversations, context: ReadContext) {
    this.#files = new Files(source)
    this.#people = people
    this.#context = context
    this.#names = {
      person: (id) => people.name(id),
      room: (id) => conversations.name(id),
      group: () => undefined,
    }
  }

  *read(value: unknown, place: Place, { id: room, pinned }: Conversation): Generator<Item> {
    const id = idOf(value, 'ts')
    const refuse = (reason: string, done: Problem['done'] = 'skipped') => {
      this.#context.problem({
        class: done === 'skipped' ? 'malformed' : 'unsupported_type',
        reason,
        place,
        room,
        ...(id !== undefined && { id }),
        done,
      })
    }
    if (!isFields(value) || id === undefined) return refuse('A message without its ts')
    if ((text(value, 'type') ?? 'message') !== 'message')
      return refuse(`It is of type ${text(value, 'type')}, not a message`)
    // Slack's exporter writes rows of a user that does not exist.
    if (value['user'] === 'U00')
      return refuse('A row of user U00, which Slack writes by mistake', 'left_out')
    const sender = senderOf(value)
    yield* this.#people.meet(sender, value)
    const stamp = { room, place, id, sender, time: timeOf(id) }
    const about = Object.hasOwn(happened, text(value, 'subtype') ?? '')
      ? happened[text(value, 'subtype')!]
      : undefined
    if (about) {
      const told = this.#text(value, [])
      // Calls have no text: what happened is in the name of their kind.
      if (told.body === '') told.body = inWords(text(value, 'subtype')!)
      const pinned = about === 'pin' ? idOf(fields(value, 'item'), 'ts') : undefined
      const replyTo = pinned !== undefined && pinned !== id ? pinned : undefined
      yield { kind: 'notice', about, ...stamp, ...told, ...(replyTo && { replyTo }) }
      yield* apart(value, stamp)
    } else
      yield this.#message(value, stamp, pinned.has(id) || list(value, 'pinned_to').includes(room))
  }

  #message(value: Fields, stamp: Stamp, pinned: boolean): Message {
    const subtype = text(value, 'subtype')
    if (subtype !== undefined && !said.has(subtype))
      this.#degraded(stamp, `Messages of subtype ${subtype} are not known: it is taken as text`)
    const about = subtype === 'file_comment'
    const { files, links } = about ? commentedOn(value) : this.#files.of(filesOf(value))
    const thread = idOf(value, 'thread_ts')
    const shownAs = isBot(value) ? this.#people.shownAs(stamp.sender, value) : undefined
    const edited = timeOf(idOf(fields(value, 'edited'), 'ts'))
    const reactions = reactionsOf(value)
    const body = this.#text(value, links)
    const deleted = subtype === 'tombstone'
    if (body.body === '' && !files.length && !deleted) {
      this.#degraded(stamp, 'There is nothing in it that can be shown')
      body.body = '(empty message)'
    }
    return {
      kind: 'message',
      ...stamp,
      ...body,
      ...(subtype === 'me_message' && { form: 'emote' }),
      ...(isBot(value) && { form: 'notice' }),
      ...(shownAs && { shownAs }),
      ...(thread !== undefined && thread !== stamp.id && { thread }),
      ...(files.length > 0 && { files }),
      ...(reactions.length > 0 && { reactions }),
      ...(!Number.isNaN(edited) && { editedAt: edited }),
      ...(pinned && { pinned: true }),
      ...(deleted && { deleted: true }),
    }
  }

  #degraded({ place, room, id }: Stamp, reason: string): void {
    this.#context.problem({ class: 'unsupported_type', reason, place, room, id, done: 'degraded' })
  }

  /** Blocks are what people saw; the text beside them is what notifications said. */
  #text(value: Fields, links: Block[]) {
    const blocks = parseBlocks(list(value, 'blocks'), this.#names)
    const own = blocks.length ? blocks : parseMrkdwn(plainOf(value), this.#names)
    const boxes = parseAttachments(list(value, 'attachments'), this.#names)
    return toText([...own, ...boxes, ...links])
  }
}

type Stamp = { room: string; place: Place; id: string; sender: string; time: number }

/** `huddle_thread` as `(Huddle thread)`. */
function inWords(subtype: string): string {
  const words = subtype.replace(/^sh_/, '').replaceAll('_', ' ')
  return `(${words[0]!.toUpperCase()}${words.slice(1)})`
}

/** A file that was commented on stands where it was shared; the comment only names it. */
function commentedOn(value: Fields): { files: []; links: Block[] } {
  const file = fields(value, 'file')
  const name = text(file, 'title') || text(file, 'name')
  if (!name) return { files: [], links: [] }
  return { files: [], links: [{ kind: 'quote', of: [{ kind: 'p', of: [name] }] }] }
}

/** A comment on a file, and the text that came with one, stand apart in old exports. */
function plainOf(value: Fields): string {
  const subtype = text(value, 'subtype')
  if (subtype === 'file_comment')
    return text(fields(value, 'comment'), 'comment') ?? text(value, 'text') ?? ''
  const file = fields(value, 'file')
  if (subtype === 'file_share' && Object.keys(file).length)
    return text(fields(file, 'initial_comment'), 'comment') ?? ''
  return text(value, 'text') ?? ''
}

function senderOf(value: Fields): string {
  return (
    idOf(value, 'user') ??
    idOf(fields(value, 'comment'), 'user') ??
    idOf(value, 'bot_id') ??
    (text(value, 'username') ? `name:${text(value, 'username')}` : 'unknown')
  )
}

const isBot = (value: Fields) =>
  text(value, 'subtype') === 'bot_message' || idOf(value, 'bot_id') !== undefined

function reactionsOf(value: Fields): Reactions[] {
  return list(value, 'reactions').flatMap((reaction) => {
    const name = text(reaction, 'name')
    if (!name) return []
    const people = texts(reaction, 'users')
    const count = number(reaction, 'count') ?? 0
    const key = emojiOf(name) ?? `:${name}:`
    return [{ key, people, ...(count > people.length && { count }) }]
  })
}

/** Reactions to what happened, which has no place for them. */
function* apart(value: Fields, stamp: Stamp): Generator<Item> {
  for (const { key, people } of reactionsOf(value)) {
    for (const sender of people) {
      const id = `${stamp.id}:${key}:${sender}`
      yield { kind: 'reaction', ...stamp, id, sender, target: stamp.id, key }
    }
  }
}

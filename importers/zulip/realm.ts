import type { Person, ReadContext, Room } from '#importers/format.ts'
import { emojiKey } from '#importers/markup/emoji.ts'
import { type Fields, flag, id as idOf, isFields, number, text } from '#importers/read/fields.ts'
import { readJson } from '#importers/read/json.ts'
import type { Scratch } from '#importers/read/scratch.ts'
import type { Source } from '#importers/source.ts'

/** Reactions stand in realm.json, apart from their messages and before them. */
export const reactionsSchema =
  'create table reactions (message integer not null, person text not null, key text not null)'

const tables = [
  'zerver_userprofile',
  'zerver_userprofile_crossrealm',
  'zerver_userprofile_mirrordummy',
  'zerver_stream',
  'zerver_recipient',
  'zerver_subscription',
  'zerver_reaction',
] as const

export type Recipient = { type: number; typeId: string }

/** What realm.json tells: people, channels, and who a message went to. */
export class Realm {
  readonly #source: Source
  readonly #folder: string
  readonly #people = new Map<string, string>()
  /** By full names; null where several people have one. */
  readonly #byName = new Map<string, string | null>()
  readonly #avatars = new Map<string, string>()
  readonly #streams = new Map<string, Room>()
  readonly #streamsByName = new Map<string, string>()
  readonly #recipients = new Map<string, Recipient>()
  readonly #members = new Map<string, string[]>()

  constructor(source: Source, folder: string) {
    this.#source = source
    this.#folder = folder
  }

  recipient(id: string): Recipient | undefined {
    return this.#recipients.get(id)
  }

  /** Who gets what is sent to a recipient, besides the sender. */
  members(recipient: string): readonly string[] {
    return this.#members.get(recipient) ?? []
  }

  hasStream(id: string): boolean {
    return this.#streams.has(id)
  }

  personNamed(name: string): string | undefined {
    return this.#byName.get(name) ?? undefined
  }

  streamNamed(name: string): string | undefined {
    const id = this.#streamsByName.get(name)
    return id === undefined ? undefined : streamRoom(id)
  }

  /** The entry of a file that was uploaded. */
  upload(path: string): string | undefined {
    const entry = `${this.#folder}uploads/${path}`
    return this.#source.has(entry) ? entry : undefined
  }

  async *read(scratch: Scratch, context: ReadContext): AsyncGenerator<Person> {
    await this.#readAvatars(context)
    const keep = scratch.db.query<unknown, [string, string, string]>(
      'insert into reactions values (?, ?, ?)',
    )
    const file = `${this.#folder}realm.json`
    for await (const { key, value, place } of readJson(this.#source, file, 'all', context)) {
      if (!(tables as readonly string[]).includes(key)) continue
      const id = idOf(value, 'id')
      if (!isFields(value) || id === undefined) {
        const reason = `A row of ${key} without an ID`
        context.problem({ class: 'malformed', reason, place, done: 'skipped' })
        continue
      }
      if (key.startsWith('zerver_userprofile')) yield* this.#addPerson(id, value)
      else if (key === 'zerver_stream') this.#addStream(id, value)
      else if (key === 'zerver_reaction') {
        const [message, person] = [idOf(value, 'message'), idOf(value, 'user_profile')]
        const emoji = reactionKey(value)
        if (message !== undefined && person !== undefined && emoji !== undefined)
          keep.run(message, person, emoji)
      } else this.#addRow(key, id, value)
    }
    scratch.db.run('create index reactions_message on reactions (message)')
  }

  #addRow(table: string, id: string, row: Fields): void {
    if (table === 'zerver_recipient') {
      const typeId = idOf(row, 'type_id')
      const type = number(row, 'type')
      if (type !== undefined && typeId !== undefined) this.#recipients.set(id, { type, typeId })
      return
    }
    const [recipient, person] = [idOf(row, 'recipient'), idOf(row, 'user_profile')]
    if (recipient === undefined || person === undefined) return
    const list = this.#members.get(recipient)
    if (list) list.push(person)
    else this.#members.set(recipient, [person])
  }

  *#addPerson(id: string, row: Fields): Generator<Person> {
    if (this.#people.has(id)) return
    const email = text(row, 'delivery_email') || text(row, 'email')
    const name = text(row, 'full_name') || nameOfBot(email)
    this.#people.set(id, name ?? id)
    if (name) this.#byName.set(name, this.#byName.has(name) ? null : id)
    const avatar = this.#avatars.get(id)
    const isBot = flag(row, 'is_bot') ?? /-bot@/.test(email ?? '')
    const isGone = flag(row, 'is_active') === false || flag(row, 'is_mirror_dummy') === true
    yield {
      kind: 'person',
      id,
      ...(name && { name }),
      ...(email && !isBot && { email }),
      ...(avatar !== undefined && { avatar: { entry: avatar } }),
      ...(isBot && { bot: true }),
      ...(isGone && { removed: true }),
    }
  }

  #addStream(id: string, row: Fields): void {
    const name = text(row, 'name')
    const topic = text(row, 'description')
    const created = number(row, 'date_created')
    if (name) this.#streamsByName.set(name, id)
    this.#streams.set(id, {
      kind: 'room',
      id: streamRoom(id),
      ...(name && { name }),
      ...(topic && { topic }),
      type: flag(row, 'invite_only') === false ? 'public' : 'private',
      ...(created !== undefined && { created: Math.round(created * 1000) }),
      ...(flag(row, 'deactivated') && { archived: true }),
    })
  }

  /** The rooms of channels, with their members: after everything was read. */
  *rooms(): Generator<Room> {
    for (const [recipient, { type, typeId }] of this.#recipients) {
      const room = type === 2 ? this.#streams.get(typeId) : undefined
      const members = this.#members.get(recipient)
      if (room && members) room.members = members
    }
    yield* this.#streams.values()
  }

  async #readAvatars(context: ReadContext): Promise<void> {
    const file = `${this.#folder}avatars/records.json`
    if (!this.#source.has(file)) return
    for await (const { value } of readJson(this.#source, file, [], context)) {
      const [person, path] = [idOf(value, 'user_profile_id'), text(value, 'path')]
      const entry = `${this.#folder}avatars/${path ?? ''}`
      if (person === undefined || !path || !this.#source.has(entry)) continue
      // The original is larger than anybody shows it.
      if (!this.#avatars.has(person) || !path.endsWith('.original'))
        this.#avatars.set(person, entry)
    }
  }
}

export const streamRoom = (id: string): string => `stream:${id}`

/** Of the bots that all organizations share only the address is told: `notification-bot@…`. */
function nameOfBot(email: string | undefined): string | undefined {
  const [local = ''] = email?.split('@') ?? []
  const words = local.split('-').filter(Boolean)
  return words.map((word) => word[0]!.toUpperCase() + word.slice(1)).join(' ') || undefined
}

/** The emoji itself, by its code points; those of the organization have names only. */
function reactionKey(row: Fields): string | undefined {
  const name = text(row, 'emoji_name')
  const code = text(row, 'emoji_code') ?? ''
  const isUnicode = (text(row, 'reaction_type') ?? 'unicode_emoji') === 'unicode_emoji'
  if (isUnicode && /^[0-9a-f]{2,6}(-[0-9a-f]{2,6})*$/i.test(code)) {
    const points = code.split('-').map((each) => Number.parseInt(each, 16))
    if (points.every((point) => point <= 0x10ffff)) return emojiKey(String.fromCodePoint(...points))
  }
  return name ? `:${name}:` : undefined
}

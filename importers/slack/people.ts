import type { Item, Message, Person, ReadContext } from '#importers/format.ts'
import { type Fields, fields, flag, id as idOf, isFields, text } from '#importers/read/fields.ts'
import { readJson } from '#importers/read/json.ts'
import type { Source } from '#importers/source.ts'

const bots = new Map([['USLACKBOT', 'Slackbot']])

/** Everybody who is known by name: the lists of users, and who only turns up in messages. */
export class People {
  readonly #names = new Map<string, string>()
  readonly #faces = new Map<string, string>()

  name(id: string): string | undefined {
    return this.#names.get(id) ?? bots.get(id)
  }

  /** Reads users.json, or org_users.json of an enterprise; each workspace in the archive may have its own. */
  async *read(source: Source, context: ReadContext): AsyncGenerator<Item> {
    for (const { name: file } of source.entries) {
      if (!/(^|\/)(org_)?users\.json$/.test(file)) continue
      for await (const { value, place } of readJson(source, file, [], context)) {
        const id = idOf(value, 'id')
        if (id === undefined || !isFields(value)) {
          const reason = 'A user without an ID'
          context.problem({ class: 'malformed', reason, place, done: 'skipped' })
        } else if (!this.#names.has(id)) yield this.#add(personOf(id, value))
      }
    }
  }

  /** Who wrote a message, if nothing is known of them yet but what the message tells. */
  *meet(id: string, message: Fields): Generator<Person> {
    if (this.#names.has(id)) return
    const profile = fields(message, 'user_profile')
    const bot = fields(message, 'bot_profile')
    if (bots.has(id)) yield this.#add({ kind: 'person', id, name: bots.get(id)!, bot: true })
    else if (text(profile, 'name') ?? text(profile, 'real_name'))
      yield this.#add(personOf(id, { profile, name: text(profile, 'name') }))
    else if (id === idOf(message, 'bot_id') || id.startsWith('name:')) {
      const name = text(bot, 'name') ?? text(message, 'username')
      const avatar = avatarOf(fields(bot, 'icons')) ?? avatarOf(fields(message, 'icons'))
      yield this.#add({
        kind: 'person',
        id,
        ...(name !== undefined && { name }),
        ...(avatar && { avatar: { url: avatar } }),
        bot: true,
      })
    }
  }

  /** How a bot called itself in a message and looked there, where that is not how it is known. */
  shownAs(id: string, message: Fields): Message['shownAs'] {
    const name = text(message, 'username')
    const face = avatarOf(fields(message, 'icons'))
    const isNew = {
      name: !!name && name !== this.name(id),
      face: face !== undefined && face !== this.#faces.get(id),
    }
    if (!isNew.name && !isNew.face) return undefined
    return { ...(isNew.name && { name: name! }), ...(isNew.face && { avatar: { url: face! } }) }
  }

  #add(person: Person): Person {
    if (person.avatar && 'url' in person.avatar) this.#faces.set(person.id, person.avatar.url)
    this.#names.set(person.id, person.name ?? person.username ?? person.id)
    return person
  }
}

function personOf(id: string, user: Fields): Person {
  const profile = fields(user, 'profile')
  const username = filled(user, 'name')
  const name =
    filled(profile, 'display_name') ??
    filled(profile, 'real_name') ??
    filled(user, 'real_name') ??
    username
  const email = filled(profile, 'email')
  const avatar = avatarOf(profile)
  return {
    kind: 'person',
    id,
    ...(username !== undefined && { username }),
    ...(name !== undefined && { name }),
    ...(email !== undefined && { email }),
    ...(avatar !== undefined && { avatar: { url: avatar } }),
    ...((flag(user, 'is_bot') || bots.has(id)) && { bot: true }),
    ...(flag(user, 'deleted') && { removed: true }),
  }
}

const filled = (value: Fields, name: string): string | undefined => text(value, name) || undefined

/** The largest picture that is worth showing. */
function avatarOf(icons: Fields): string | undefined {
  const sizes = ['image_192', 'image_512', 'image_72', 'image_48', 'image_original']
  return sizes.map((size) => text(icons, size)).find((url) => url?.startsWith('https://'))
}

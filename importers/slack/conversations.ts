import type { Item, ReadContext, Room } from '#importers/format.ts'
import {
  type Fields,
  fields,
  flag,
  id as idOf,
  isFields,
  list,
  number,
  text,
  texts,
} from '#importers/read/fields.ts'
import { readJson } from '#importers/read/json.ts'
import type { Source } from '#importers/source.ts'

export type Conversation = { id: string; name: string; pinned: ReadonlySet<string> }

const types = { channels: 'public', groups: 'private', mpims: 'direct', dms: 'direct' } as const

/**
 * The conversations of every list in the archive. Folders are called by the name for channels and group
 * chats, and by the ID for chats of two; an enterprise's export may hold several workspaces.
 */
export class Conversations {
  readonly #source: Source
  readonly #byId = new Map<string, Conversation>()
  readonly #byFolder = new Map<string, Conversation>()

  constructor(source: Source) {
    this.#source = source
  }

  name(id: string): string | undefined {
    return this.#byId.get(id)?.name
  }

  ofFolder(folder: string): Conversation | undefined {
    return this.#byFolder.get(folder)
  }

  /** A folder that no list names is kept as a conversation called like it. */
  stray(folder: string): Conversation {
    const name = folder.slice(folder.lastIndexOf('/') + 1)
    const conversation = { id: name, name, pinned: new Set<string>() }
    this.#byFolder.set(folder, conversation)
    return conversation
  }

  async *read(context: ReadContext): AsyncGenerator<Item> {
    for (const { name: file } of this.#source.entries) {
      const match = /(^|.*\/)(channels|groups|dms|mpims)\.json$/.exec(file)
      if (!match) continue
      const [, parent = '', kind] = match
      for await (const { value, place } of readJson(this.#source, file, [], context)) {
        const id = idOf(value, 'id')
        if (id === undefined || !isFields(value)) {
          const reason = 'A conversation without an ID'
          context.problem({ class: 'malformed', reason, place, done: 'skipped' })
        } else yield* this.#add(parent, id, value, types[kind as keyof typeof types])
      }
    }
  }

  *#add(parent: string, id: string, value: Fields, type: Room['type']): Generator<Room> {
    const name = text(value, 'name') || undefined
    const pins = list(value, 'pins').map((pin) => idOf(pin, 'id') ?? '')
    const known = this.#byId.get(id)
    const conversation = known ?? { id, name: name ?? id, pinned: new Set(pins) }
    this.#byId.set(id, conversation)
    for (const folder of [name, id]) {
      if (folder && !this.#byFolder.has(parent + folder))
        this.#byFolder.set(parent + folder, conversation)
    }
    // A channel that two workspaces of an enterprise share stands in the list of each.
    if (known) return
    const topic = text(fields(value, 'topic'), 'value') || text(fields(value, 'purpose'), 'value')
    const created = number(value, 'created')
    const members = texts(value, 'members')
    yield {
      kind: 'room',
      id,
      // The name of a group chat is made of its members'.
      ...(name !== undefined && type !== 'direct' && { name }),
      ...(topic && type !== 'direct' && { topic: topic }),
      ...(type && { type }),
      ...(members.length > 0 && { members }),
      ...(created !== undefined && { created: created * 1000 }),
      ...(flag(value, 'is_archived') && { archived: true }),
    }
  }
}

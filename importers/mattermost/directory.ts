import type { Person, Room } from '#importers/format.ts'
import { type Fields, isFields, list, number, text, texts } from '#importers/read/fields.ts'
import type { Source } from '#importers/source.ts'

/**
 * Channels and people. Neither has an ID in the export: channels are known by their team and the name in
 * their address, people by their username, chats between people by who is in them.
 */
export class Directory {
  readonly #source: Source
  readonly #folder: string
  readonly #people = new Set<string>()
  readonly #channels = new Set<string>()
  /** Channels wait for their members, who are told with the people behind them. */
  readonly #waiting = new Map<string, Room & { members: string[] }>()

  constructor(source: Source, file: string) {
    this.#source = source
    this.#folder = file.slice(0, file.lastIndexOf('/') + 1)
  }

  hasPerson(username: string): boolean {
    return this.#people.has(username)
  }

  hasChannel(id: string): boolean {
    return this.#channels.has(id)
  }

  /** The entry of a path in the export; what is packed lies in a folder of its own. */
  entryOf(path: string): string | undefined {
    const clean = path.replaceAll('\\', '/').replace(/^\.?\//, '')
    return [`${this.#folder}${clean}`, `${this.#folder}data/${clean}`].find((each) =>
      this.#source.has(each),
    )
  }

  addChannel(value: Fields): void {
    const id = channelId(text(value, 'team') ?? '', text(value, 'name') ?? '')
    const name = text(value, 'display_name') || text(value, 'name')
    const topic = text(value, 'header') || text(value, 'purpose')
    this.#add({
      kind: 'room',
      id,
      ...(name && { name }),
      ...(topic && { topic }),
      type: text(value, 'type') === 'O' ? 'public' : 'private',
      members: [],
      ...((number(value, 'deleted_at') ?? 0) > 0 && { archived: true }),
    })
  }

  addDirect(value: Fields): void {
    const members = membersOf(value)
    const topic = text(value, 'header')
    this.#add({
      kind: 'room',
      id: directId(members),
      ...(topic && { topic }),
      type: 'direct',
      members,
    })
  }

  /** Makes a room of which only posts tell. */
  addUnlisted(id: string, type: 'private' | 'direct', members: string[], name?: string): void {
    this.#add({ kind: 'room', id, ...(name && { name }), type, members })
  }

  #add(room: Room & { members: string[] }): void {
    if (this.#channels.has(room.id)) return
    this.#channels.add(room.id)
    this.#waiting.set(room.id, room)
  }

  *addUser(value: Fields): Generator<Person> {
    const username = text(value, 'username')
    if (!username || this.#people.has(username)) return
    this.#people.add(username)
    for (const team of list(value, 'teams')) {
      for (const channel of list(team, 'channels')) {
        const id = channelId(text(team, 'name') ?? '', text(channel, 'name') ?? '')
        this.#waiting.get(id)?.members.push(username)
      }
    }
    const full = [text(value, 'first_name'), text(value, 'last_name')].filter(Boolean).join(' ')
    const name = text(value, 'nickname') || full || username
    const email = text(value, 'email')
    const avatar = this.entryOf(text(value, 'profile_image') ?? '')
    yield {
      kind: 'person',
      id: username,
      username,
      name,
      ...(email && { email }),
      ...(avatar !== undefined && { avatar: { entry: avatar } }),
      ...((number(value, 'delete_at') ?? 0) > 0 && { removed: true }),
    }
  }

  *addBot(value: Fields): Generator<Person> {
    const username = text(value, 'username')
    if (!username || this.#people.has(username)) return
    this.#people.add(username)
    const name = text(value, 'display_name') || username
    yield { kind: 'person', id: username, username, name, bot: true }
  }

  /** The rooms that were not handed out yet. */
  *rest(): Generator<Room> {
    if (this.#waiting.size === 0) return
    const rooms = [...this.#waiting.values()]
    this.#waiting.clear()
    for (const { members, ...room } of rooms) yield members.length ? { ...room, members } : room
  }
}

export const channelId = (team: string, name: string): string => `${team}/${name}`

/** Who is in a chat between people; who writes to themselves stands there twice. */
export function membersOf(value: Fields): string[] {
  const named = [...texts(value, 'members'), ...texts(value, 'channel_members')]
  const taking = list(value, 'participants')
    .filter(isFields)
    .map((each) => text(each, 'username'))
  return [...new Set([...named, ...taking.filter((each) => each !== undefined)])].sort(byCodeUnits)
}

const byCodeUnits = (one: string, other: string) => (one < other ? -1 : one > other ? 1 : 0)

export const directId = (members: readonly string[]): string => `@${members.join(',')}`

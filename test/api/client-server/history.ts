import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { Person, twoHomes, type WholeServer } from '#test/api/server-server/two-homes.ts'
import { newFolder } from '#test/folder.ts'

/** Two servers on which application services put history into rooms (MSC2716), and one such service on each. */

export type Event = {
  event_id: string
  type: string
  sender: string
  state_key?: string
  origin_server_ts: number
  content: Record<string, any>
}

export type Sent = {
  state_event_ids: string[]
  event_ids: string[]
  next_batch_id: string
  insertion_event_id: string
  batch_event_id: string
  base_insertion_event_id?: string
}

export const insertion = 'org.matrix.msc2716.insertion'
export const batch = 'org.matrix.msc2716.batch'
export const marker = 'org.matrix.msc2716.marker'
export const historical = 'org.matrix.msc2716.historical'

export async function historyHomes(names: readonly [string, string]) {
  const folder = await newFolder('history')
  const fileOf = (name: string) => join(folder, `${name}.yaml`)
  for (const name of names)
    await writeFile(
      fileOf(name),
      JSON.stringify({
        id: 'old',
        url: null,
        as_token: `as-${name}`,
        hs_token: `hs-${name}`,
        sender_localpart: 'importer',
        namespaces: { users: [{ regex: '@(maria|ricky|guest).*', exclusive: true }] },
        rate_limited: false,
      }),
    )
  return twoHomes(names, (name) => ({
    rooms: { msc2716: true },
    appservices: { files: [fileOf(name)] },
  }))
}

const firstTs = 1_600_000_000_000

/** An application service that puts history into rooms of its server. */
export class Importer extends Person {
  readonly #home: WholeServer

  /** Or somebody who acts as if they were one. */
  constructor(home: WholeServer, other?: Person) {
    super(home, other?.userId ?? `@importer:${home.name}`, other?.token ?? `as-${home.name}`)
    this.#home = home
  }

  /** A user of its, registered. */
  async ghost(localpart: string): Promise<string> {
    const body = { type: 'm.login.application_service', username: localpart, inhibit_login: true }
    return (await this.do('POST', 'register', body)).user_id as string
  }

  async room(wish: object = {}): Promise<string> {
    const body = { preset: 'public_chat', room_version: '10', ...wish }
    return (await this.do('POST', 'createRoom', body)).room_id as string
  }

  /** `POST …/batch_send` as the MSC has it. */
  async send(
    roomId: string,
    query: string,
    body: object,
    path = `/_matrix/client/unstable/org.matrix.msc2716/rooms/${encodeURIComponent(roomId)}/batch_send`,
    method = 'POST',
  ): Promise<{ status: number; body: any }> {
    const response = await this.fetch(`${path}?${query}`, { method, body: JSON.stringify(body) })
    return { status: response.status, body: await response.json() }
  }

  /** A batch of messages behind an event, each by the next of the senders, who join for it. */
  async batch(
    roomId: string,
    behind: string,
    texts: readonly string[],
    { batchId, senders }: { batchId?: string; senders: readonly string[] },
  ): Promise<Sent> {
    const query = queryOf(behind, batchId)
    const { status, body } = await this.send(roomId, query, batchOf(texts, senders))
    if (status !== 200) throw new Error(`batch_send: ${status} ${JSON.stringify(body)}`)
    return body as Sent
  }

  /** Says to other servers where history was put in. */
  async mark(roomId: string, insertionId: string): Promise<string> {
    const path = `rooms/${encodeURIComponent(roomId)}/state/${marker}/${crypto.randomUUID()}`
    const { event_id: eventId } = await this.do('PUT', path, {
      insertion_event_reference: insertionId,
    })
    return eventId as string
  }

  get serverName(): string {
    return this.#home.name
  }
}

export const queryOf = (behind: string, batchId?: string): string =>
  new URLSearchParams({
    prev_event_id: behind,
    ...(batchId !== undefined && { batch_id: batchId }),
  }).toString()

export const batchOf = (texts: readonly string[], senders: readonly string[]) => ({
  state_events_at_start: [...new Set(senders)].map((sender) => joinOf(sender)),
  events: texts.map((text, index) => messageOf(text, senders[index % senders.length]!, index)),
})

export const joinOf = (userId: string, more: object = {}) => ({
  type: 'm.room.member',
  sender: userId,
  state_key: userId,
  origin_server_ts: firstTs,
  content: {
    membership: 'join',
    displayname: `Old ${userId.slice(1, 6)}`,
    avatar_url: `mxc://old.test/${userId.slice(1, 6)}`,
  },
  ...more,
})

export const messageOf = (text: string, sender: string, index = 0) => ({
  type: 'm.room.message',
  sender,
  origin_server_ts: firstTs + index,
  content: { msgtype: 'm.text', body: text },
})

/** All that a user reads of a room, oldest first, in pages of a size. */
export async function readAll(
  person: Person,
  roomId: string,
  direction: 'b' | 'f',
  limit = 100,
): Promise<Event[]> {
  const events: Event[] = []
  let from = ''
  for (;;) {
    const path = `rooms/${encodeURIComponent(roomId)}/messages?dir=${direction}&limit=${limit}${from}`
    const { chunk, end } = await person.do('GET', path)
    events.push(...(chunk as Event[]))
    if (end === undefined || (direction === 'f' && chunk.length === 0)) break
    from = `&from=${encodeURIComponent(end)}`
  }
  return direction === 'b' ? events.reverse() : events
}

export const textsOf = (events: readonly Event[]): string[] =>
  events.filter(({ type }) => type === 'm.room.message').map(({ content }) => content['body'])

export const typesOf = (events: readonly Event[]): string[] =>
  events.map(({ type, content }) => (type === 'm.room.message' ? content['body'] : type))

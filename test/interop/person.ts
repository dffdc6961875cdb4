import { silent } from './silent-log.ts'
import { createHmac } from 'node:crypto'
import {
  ClientEvent,
  type MatrixClient,
  MatrixEventEvent,
  type Room,
  RoomEvent,
  SyncState,
  createClient,
} from 'matrix-js-sdk'
import { patienceMs } from '../until.ts'

export type Stored = {
  event_id: string
  type: string
  state_key?: string
  sender: string
  content: Record<string, unknown>
  origin_server_ts: number
}

/** Somebody with a real client: matrix-js-sdk, syncing against one server. */
export class Person {
  readonly client: MatrixClient
  readonly userId: string
  readonly #baseUrl: string
  readonly #token: string

  private constructor(client: MatrixClient, userId: string, baseUrl: string, token: string) {
    this.client = client
    this.userId = userId
    this.#baseUrl = baseUrl
    this.#token = token
  }

  /** Makes an account by the shared secret, logs in and waits for the first sync. */
  static async register(baseUrl: string, name: string, secret: string): Promise<Person> {
    const password = `${name}-password`
    const { nonce } = await ask<{ nonce: string }>(`${baseUrl}/_synapse/admin/v1/register`)
    const mac = createHmac('sha1', secret)
      .update([nonce, name, password, 'notadmin'].join('\0'))
      .digest('hex')
    await ask(`${baseUrl}/_synapse/admin/v1/register`, {
      method: 'POST',
      body: JSON.stringify({ nonce, username: name, password, admin: false, mac }),
    })
    const login = await createClient({ baseUrl, logger: silent }).loginRequest({
      type: 'm.login.password',
      identifier: { type: 'm.id.user', user: name },
      password,
    })
    const client = createClient({
      baseUrl,
      userId: login.user_id,
      accessToken: login.access_token,
      deviceId: login.device_id,
      // As the clients that people have are told.
      timelineSupport: true,
      logger: silent,
    })
    const person = new Person(client, login.user_id, baseUrl, login.access_token)
    await person.start()
    return person
  }

  async start(): Promise<void> {
    const ready = Promise.withResolvers<void>()
    const listen = (state: SyncState) => {
      if (state === SyncState.Prepared || state === SyncState.Syncing) ready.resolve()
    }
    this.client.on(ClientEvent.Sync, listen)
    await this.client.startClient({ initialSyncLimit: 50, lazyLoadMembers: true })
    await within(patienceMs, ready.promise, `${this.userId} never finished a first sync`)
    this.client.off(ClientEvent.Sync, listen)
  }

  stop(): void {
    this.client.stopClient()
  }

  /** Waits until the room as this client knows it satisfies `holds`. */
  async until(roomId: string, what: string, holds: (room: Room) => boolean): Promise<Room> {
    const found = () => {
      const room = this.client.getRoom(roomId)
      return room && holds(room) ? room : undefined
    }
    const now = found()
    if (now) return now
    const seen = Promise.withResolvers<Room>()
    const look = () => {
      const room = found()
      if (room) seen.resolve(room)
    }
    const events = [
      ClientEvent.Room,
      ClientEvent.Sync,
      RoomEvent.Timeline,
      RoomEvent.MyMembership,
      MatrixEventEvent.Replaced,
      RoomEvent.Redaction,
    ] as const
    for (const event of events) this.client.on(event, look)
    try {
      return await within(patienceMs, seen.promise, `${this.userId} never saw: ${what}`)
    } finally {
      for (const event of events) this.client.off(event, look)
    }
  }

  untilMembership(roomId: string, membership: string): Promise<Room> {
    return this.until(
      roomId,
      `own membership ${membership}`,
      (room) => room.getMyMembership() === membership,
    )
  }

  untilMessage(roomId: string, body: string): Promise<Room> {
    return this.until(roomId, `the message "${body}"`, (room) =>
      room
        .getLiveTimeline()
        .getEvents()
        .some((event) => event.getContent()['body'] === body),
    )
  }

  async say(roomId: string, body: string): Promise<string> {
    const { event_id } = await this.client.sendTextMessage(roomId, body)
    return event_id
  }

  /** One request to the server itself, beside the client's own view. */
  get<T>(path: string): Promise<T> {
    return ask<T>(this.#baseUrl + path, { headers: { authorization: `Bearer ${this.#token}` } })
  }

  /** The current state as the server tells it: `type|state_key` → event ID. */
  async state(roomId: string): Promise<Map<string, string>> {
    const events = await this.get<Stored[]>(
      `/_matrix/client/v3/rooms/${encodeURIComponent(roomId)}/state`,
    )
    return new Map(
      events
        .map((event) => [`${event.type}|${event.state_key}`, event.event_id] as const)
        .sort(([a], [b]) => (a < b ? -1 : 1)),
    )
  }

  /** The whole history as the server reads it, oldest first. */
  async history(roomId: string): Promise<Stored[]> {
    const pages: Stored[][] = []
    let from = ''
    for (let page = 0; page < 100; page++) {
      const answer = await this.get<{ chunk: Stored[]; end?: string }>(
        `/_matrix/client/v3/rooms/${encodeURIComponent(roomId)}/messages?dir=b&limit=50${from}`,
      )
      pages.push(answer.chunk)
      if (answer.end === undefined) break
      from = `&from=${encodeURIComponent(answer.end)}`
    }
    return pages.flat().reverse()
  }
}

async function ask<T>(url: string, init: RequestInit = {}): Promise<T> {
  const response = await fetch(url, { ...init, signal: AbortSignal.timeout(patienceMs) })
  const text = await response.text()
  if (!response.ok) throw new Error(`${response.status} from ${url}: ${text}`)
  return JSON.parse(text) as T
}

async function within<T>(ms: number, promise: Promise<T>, complaint: string): Promise<T> {
  const late = Promise.withResolvers<never>()
  const timer = setTimeout(() => late.reject(new Error(complaint)), ms)
  try {
    return await Promise.race([promise, late.promise])
  } finally {
    clearTimeout(timer)
  }
}

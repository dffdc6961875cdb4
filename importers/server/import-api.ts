import type { Server } from './client.ts'

const prefix = '/_laneway/import/v1/sessions'
/** What is waiting for others may be made only then. */
const ending = 600_000

export type Mode = 'fresh' | 'archive' | 'insert' | 'append'

/** A record as the server takes it. */
export type OutRecord = {
  src_id: string
  type: string
  sender: string
  ts: number
  content: { [name: string]: unknown }
  relates?: {
    thread?: string
    reply?: string
    target?: string
    rel_type?: string
    key?: string
  }
}

export type OutPerson = { user_id: string; displayname?: string; avatar_url?: string }

export type SessionWish = {
  room_id: string
  source: string
  mode: Mode
  position?: { before: string } | { after: string } | { at_start: true } | { by_time: true }
  federate?: boolean
  dry_run?: boolean
  /** Of an archive: the room in which people go on. */
  live_room_id?: string
}

export type Opened = {
  session_id?: string
  mode: Mode
  plan: { [name: string]: unknown }
  warnings: string[]
}

export type SessionState = {
  session_id: string
  room_id: string
  source: string
  mode: Mode
  state: 'open' | 'committed' | 'aborted' | 'undoing' | 'undone'
  next_batch: number
  accepted: number
  duplicates: number
  waiting: number
  failed: number
  first_ts: number | null
  last_ts: number | null
}

export type BatchAnswer = {
  next_batch: number
  accepted: number
  duplicates: number
  waiting: number
  failed: { src_id: string; errcode: string; error: string }[]
}

/** The import API of a server, call by call. */
export class ImportApi {
  readonly #server: Server

  constructor(server: Server) {
    this.#server = server
  }

  async open(wish: SessionWish): Promise<Opened> {
    return (await this.#server.post(prefix, wish)) as Opened
  }

  async session(id: string): Promise<SessionState> {
    return (await this.#server.get(path(id))) as SessionState
  }

  async sessions(query: { room_id?: string; source?: string }): Promise<SessionState[]> {
    const { sessions } = (await this.#server.get(prefix, query)) as { sessions: SessionState[] }
    return sessions
  }

  async put(
    id: string,
    n: number,
    batch: { people: OutPerson[]; records: OutRecord[] },
  ): Promise<BatchAnswer> {
    // Lines, which the server need not take apart to know how many there are.
    const lines = [
      ...batch.people.map((person) => JSON.stringify({ person })),
      ...batch.records.map((record) => JSON.stringify({ record })),
    ]
    return (await this.#server.request('PUT', `${path(id)}/batches/${n}`, {
      text: { content: lines.join('\n'), type: 'application/x-ndjson' },
    })) as BatchAnswer
  }

  async commit(id: string): Promise<{ [name: string]: unknown }> {
    return (await this.#server.request('POST', `${path(id)}/commit`, {
      body: {},
      deadline: ending,
    })) as { [name: string]: unknown }
  }

  async abort(id: string): Promise<void> {
    await this.#server.post(`${path(id)}/abort`)
  }

  async undo(id: string): Promise<{ [name: string]: unknown }> {
    return (await this.#server.request('POST', `${path(id)}/undo`, {
      body: {},
      deadline: ending,
    })) as { [name: string]: unknown }
  }

  /** The events that records became. */
  async events(id: string, srcIds: readonly string[]): Promise<Map<string, string>> {
    const { events } = (await this.#server.post(`${path(id)}/events`, { src_ids: srcIds })) as {
      events: { [srcId: string]: string }
    }
    return new Map(Object.entries(events))
  }
}

const path = (id: string) => `${prefix}/${encodeURIComponent(id)}`

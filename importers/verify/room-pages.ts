import type { Server } from '#importers/server/client.ts'

/** An event as a client reads it. */
export type ReadEvent = {
  event_id: string
  type: string
  sender: string
  origin_server_ts: number
  content: { [name: string]: unknown }
  unsigned?: { redacted_because?: unknown; 'm.relations'?: { [name: string]: unknown } }
}

type Page = { chunk: ReadEvent[]; start: string; end?: string }
export type Direction = 'f' | 'b'

/** A room as one user reads it. */
export class RoomPages {
  readonly #server: Server
  readonly #path: string

  constructor(server: Server, roomId: string) {
    this.#server = server
    this.#path = `/_matrix/client/v3/rooms/${encodeURIComponent(roomId)}`
  }

  /** Every event from one end of the room to the other. */
  async *all(dir: Direction, limit: number): AsyncGenerator<ReadEvent> {
    for (let from: string | undefined, first = true; first || from !== undefined; first = false) {
      const page = await this.#page(dir, limit, from)
      yield* page.chunk
      // A server that gives the same token again would never come to an end.
      from = page.end === from ? undefined : page.end
    }
  }

  /** An event and every one after it. */
  async *onFrom(eventId: string, limit: number): AsyncGenerator<ReadEvent> {
    const { event, end } = (await this.#server.get(
      `${this.#path}/context/${encodeURIComponent(eventId)}`,
      { limit: 0 },
    )) as { event: ReadEvent; end?: string }
    yield event
    for (let from = end; from !== undefined;) {
      const page = await this.#page('f', limit, from)
      yield* page.chunk
      from = page.end === from ? undefined : page.end
    }
  }

  /** So many events on from one of them, in pages of a size. */
  async next(eventId: string, dir: Direction, limit: number, pages: number): Promise<ReadEvent[]> {
    const context = (await this.#server.get(
      `${this.#path}/context/${encodeURIComponent(eventId)}`,
      { limit: 0 },
    )) as { start?: string; end?: string }
    let from = dir === 'f' ? context.end : context.start
    const events: ReadEvent[] = []
    for (let read = 0; read < pages && from !== undefined; read++) {
      const page: Page = await this.#page(dir, limit, from)
      events.push(...page.chunk)
      from = page.end
    }
    return events
  }

  /** How many events of a kind relate to one. */
  async relations(eventId: string, relType: string): Promise<string[]> {
    const ids: string[] = []
    const path = this.#path.replace('/v3/', '/v1/')
    for (let from: string | undefined, first = true; first || from !== undefined; first = false) {
      const page = (await this.#server.get(
        `${path}/relations/${encodeURIComponent(eventId)}/${relType}`,
        { limit: 100, from },
      )) as { chunk: ReadEvent[]; next_batch?: string }
      ids.push(...page.chunk.map((each) => each.event_id))
      from = page.next_batch
    }
    return ids
  }

  async #page(dir: Direction, limit: number, from: string | undefined): Promise<Page> {
    return (await this.#server.get(`${this.#path}/messages`, { dir, limit, from })) as Page
  }
}

import type { Login } from '#test/laneway.ts'
import { now } from './origins/protocol.ts'

export type Seen = { event_id: string; type: string; sender: string; content: { body?: string } }

type Timeline = { events: Seen[]; limited?: boolean; prev_batch?: string }

type Answer = {
  next_batch: string
  to_device?: { events: { type: string; content: Record<string, unknown> }[] }
  rooms?: { join?: Record<string, { timeline: Timeline }> }
}

const filter = encodeURIComponent(
  JSON.stringify({
    presence: { types: [] },
    room: { timeline: { limit: 1000 }, ephemeral: { types: [] } },
  }),
)

export type Listeners = {
  /** `at` is when the answer had come, in ms of the epoch. */
  onEvent?: (roomId: string, event: Seen, at: number) => void
  onToDevice?: (content: Record<string, unknown>, at: number) => void
}

/** A client that reads by long polls, one after another, and fills gaps in what it is told. */
export class SyncReader {
  readonly #login: Login
  readonly #listeners: Listeners
  /** What a client does between two polls. */
  readonly #pauseMs: number
  readonly #end = new AbortController()
  readonly #reading: Promise<void>
  /** Polls that failed: with the server gone, the client goes on when it is back. */
  failures = 0

  private constructor(
    login: Login,
    listeners: Listeners,
    { since, pauseMs }: { since: string; pauseMs: number },
  ) {
    this.#login = login
    this.#listeners = listeners
    this.#pauseMs = pauseMs
    this.#reading = this.#read(since)
  }

  /** Reads from now on. */
  static async start(login: Login, listeners: Listeners, pauseMs = 0): Promise<SyncReader> {
    const path = `/_matrix/client/v3/sync?timeout=0&filter=${filter}`
    const { next_batch: since } = await login.get<Answer>(path)
    return new SyncReader(login, listeners, { since, pauseMs })
  }

  async stop(): Promise<void> {
    this.#end.abort()
    await this.#reading
  }

  async #read(since: string): Promise<void> {
    while (!this.#end.signal.aborted) {
      try {
        const path = `/_matrix/client/v3/sync?since=${since}&timeout=1000&filter=${filter}`
        const answer = await this.#login.get<Answer>(path)
        await this.#take(answer, since)
        since = answer.next_batch
      } catch {
        this.failures++
        await Bun.sleep(100)
      }
      if (this.#pauseMs > 0) await Bun.sleep(this.#pauseMs)
    }
  }

  async #take(answer: Answer, since: string): Promise<void> {
    const at = now()
    const { onEvent, onToDevice } = this.#listeners
    for (const { content } of answer.to_device?.events ?? []) onToDevice?.(content, at)
    if (!onEvent) return
    for (const [roomId, { timeline }] of Object.entries(answer.rooms?.join ?? {})) {
      const missed =
        timeline.limited && timeline.prev_batch !== undefined
          ? await this.#fill(roomId, timeline.prev_batch, since)
          : []
      for (const event of [...missed, ...timeline.events])
        onEvent(roomId, event, missed.length > 0 ? now() : at)
    }
  }

  /** What lies between two tokens, oldest first. */
  async #fill(roomId: string, from: string, to: string): Promise<Seen[]> {
    const found: Seen[] = []
    const path = `/_matrix/client/v3/rooms/${encodeURIComponent(roomId)}/messages?dir=b&limit=1000`
    for (let next: string | undefined = from; next !== undefined;) {
      const page: { chunk: Seen[]; end?: string } = await this.#login.get(
        `${path}&from=${encodeURIComponent(next)}&to=${encodeURIComponent(to)}`,
      )
      found.push(...page.chunk)
      next = page.chunk.length > 0 ? page.end : undefined
    }
    return found.reverse()
  }
}

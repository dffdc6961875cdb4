import { type Marked, follow } from '#engine/room/batch-send/markers.ts'
import type { Lane } from '#engine/room/lane.ts'
import type { Parts } from '#engine/room/parts.ts'
import { unpackEventId } from '#store/room/event-id.ts'
import { roomVersions } from '#core/room-version.ts'
import * as historyLinks from '#store/room/history-links.ts'

/** Insertion events of the rooms of one worker that are looked at; the rest when these are here, or given up. */
const maxRows = 1_000

/**
 * MSC2716: asks again for insertion events that could not be fetched, after pauses that double, as often as for
 * other events that are missing. They are remembered in the database: a new run begins to count anew. Whatever
 * else leads to one has it fetched besides.
 */
export class MarkerRetries {
  readonly #parts: Parts
  readonly #laneOf: (roomId: string) => Lane
  readonly #tried = new Map<string, { attempts: number; dueAt: number }>()
  #looking: Promise<void> | undefined
  #timer: ReturnType<typeof setInterval> | undefined
  #stopped = false

  constructor(parts: Parts, laneOf: (roomId: string) => Lane) {
    this.#parts = parts
    this.#laneOf = laneOf
  }

  start(): void {
    const { history, limits } = this.#parts
    if (!history) return
    this.#timer = setInterval(() => this.look(), limits.retryMs)
    this.#timer.unref()
  }

  async stop(): Promise<void> {
    this.#stopped = true
    clearInterval(this.#timer)
    await this.#looking
  }

  /** Asks for those whose time has come. */
  look(): void {
    if (this.#stopped) return
    this.#looking ??= this.#look()
      .catch((error: unknown) => {
        if (!this.#stopped) this.#parts.onError(error, 'markers that could not be followed')
      })
      .finally(() => {
        this.#looking = undefined
      })
  }

  /** When it has looked. */
  async idle(): Promise<void> {
    await this.#looking
  }

  async #look(): Promise<void> {
    const { sql, shards, limits, now } = this.#parts
    const rows = await historyLinks.notFetched(sql, [...shards.keys()], maxRows)
    const keys = new Set<string>()
    for (const row of rows) {
      const version = roomVersions.get(row.version)
      if (!version) continue
      const insertionId = unpackEventId(row.insertion_id, version)
      const key = `${row.room_id} ${insertionId}`
      keys.add(key)
      const { attempts, dueAt } = this.#tried.get(key) ?? { attempts: 0, dueAt: 0 }
      if (attempts >= limits.attempts || now() < dueAt) continue
      this.#tried.set(key, {
        attempts: attempts + 1,
        dueAt: now() + limits.retryMs * 2 ** attempts,
      })
      const marked: Marked = { insertionId, server: row.server }
      if (!this.#stopped) follow(this.#laneOf(row.room_id), marked)
    }
    for (const key of this.#tried.keys()) if (!keys.has(key)) this.#tried.delete(key)
  }
}

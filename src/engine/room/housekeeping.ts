import * as generations from '#store/room/generations.ts'
import * as localTxns from '#store/room/local-txns.ts'
import { MarkerRetries } from '#engine/room/batch-send/marker-retries.ts'
import type { Lane } from '#engine/room/lane.ts'
import { type Parts, shardOfRoom } from '#engine/room/parts.ts'

/** Rows, and rooms, of one statement. */
const atOnce = 1_000

/**
 * What the owner of some rooms tidies up at its start and every hour, in small steps: transaction IDs
 * that no client repeats any more, and states that were staged for a join which came to nothing. Meanwhile it asks
 * again for what markers name.
 */
export class Housekeeping {
  readonly markers: MarkerRetries
  readonly #parts: Parts
  readonly #running = new Set<Promise<void>>()
  #tidying = false
  #timer: ReturnType<typeof setInterval> | undefined
  #stopped = false

  constructor(parts: Parts, laneOf: (roomId: string) => Lane) {
    this.#parts = parts
    this.markers = new MarkerRetries(parts, laneOf)
  }

  start(): void {
    this.#timer = setInterval(() => this.run(), this.#parts.limits.tidyMs)
    this.#timer.unref()
    this.run()
    this.markers.start()
  }

  /** Ends after the steps that are being taken. */
  async stop(): Promise<void> {
    this.#stopped = true
    clearInterval(this.#timer)
    await Promise.all([this.markers.stop(), ...this.#running])
  }

  /** One round, if none is under way. */
  run(): void {
    if (this.#tidying || this.#stopped) return
    this.#tidying = true
    void this.#follow(
      this.#tidy().finally(() => {
        this.#tidying = false
      }),
    )
  }

  /** A join has ended: what it staged for nothing goes, or the state that its own has replaced. */
  joinEnded(lane: Lane): void {
    const tidying = async () => {
      const room = await this.#parts.turns.seat(true).run(lane.load())
      if (room) await this.#dropUnused(lane.roomId, { shard: room.shard, roomNid: room.nid })
    }
    void this.#follow(lane.keep(tidying))
  }

  async #follow(work: Promise<void>): Promise<void> {
    const followed = work.catch((error: unknown) =>
      this.#parts.onError(error, 'rooms could not be tidied up'),
    )
    this.#running.add(followed)
    await followed
    this.#running.delete(followed)
  }

  async #tidy(): Promise<void> {
    const { sql, shards, now, limits } = this.#parts
    const own = [...shards.keys()]
    const before = now() - limits.keepTxnsMs
    while (!this.#stopped && (await localTxns.forget(sql, own, before, atOnce)) === atOnce);
    let after: generations.RoomCursor | undefined = { shard: -1, roomNid: 0 }
    while (!this.#stopped && after) {
      const found: generations.Unused = await generations.listUnused(sql, own, after, atOnce)
      for (const { roomId, ...room } of found.rooms) await this.#dropUnused(roomId, room)
      after = found.next
    }
  }

  async #dropUnused(roomId: string, room: { shard: number; roomNid: number }): Promise<void> {
    const { sql, isJoining } = this.#parts
    if (isJoining(roomId)) return
    // Whatever is staged from here on has a greater number.
    const before = shardOfRoom(this.#parts, room).nextNid()
    while (!this.#stopped && (await generations.dropUnused(sql, { ...room, before }, atOnce)));
  }
}

import { MatrixError } from '#core/error.ts'
import { contentOf } from '#engine/room/local/send.ts'
import { remoteJoin, resumeJoin } from '#engine/room/fetch/join.ts'
import type { JoinedRoom, RemoteJoin, SignedJoin } from '#engine/room/fetch/fetching.ts'
import type { Housekeeping } from '#engine/room/housekeeping.ts'
import type { Lane } from '#engine/room/lane.ts'
import { isOurs } from '#engine/room/member/local-member.ts'
import { putIn } from '#engine/room/member/take-member.ts'
import { takeMarkers } from '#engine/room/batch-send/markers.ts'
import type { Parts } from '#engine/room/parts.ts'
import { takeIn } from '#engine/room/member/take-in.ts'
import * as pendingJoins from '#store/room/pending-joins.ts'
import type { JoinRoom, Landed } from '#engine/worker/protocol.ts'

const firstRetryMs = 10_000
const maxRetryMs = 600_000
/** After so long a join that was broken off by a restart is given up. */
const giveUpMs = 86_400_000
const patienceMs = 10_000
const pauseMs = 250

/** Joins through other servers: one at a time for a room, durable before they are handed in. */
export class RemoteJoins {
  readonly #parts: Parts
  readonly #housekeeping: Housekeeping
  readonly #underWay = new Map<string, Promise<unknown>>()
  readonly #timers = new Set<ReturnType<typeof setTimeout>>()

  constructor(parts: Parts, housekeeping: Housekeeping) {
    this.#parts = parts
    this.#housekeeping = housekeeping
  }

  get size(): number {
    return this.#underWay.size
  }

  has(roomId: string): boolean {
    return this.#underWay.has(roomId)
  }

  /** What runs for a room, if anything does: others wait for its end, whatever it is. */
  other(roomId: string): Promise<unknown> | undefined {
    return this.#underWay.get(roomId)
  }

  /** Joins a user whose server is not in the room, or may not let them in. */
  join(lane: Lane, request: JoinRoom): Promise<Landed> {
    const parts = this.#parts
    const { userId, via } = request
    const joining = async () => {
      let signed = false
      try {
        const joined = await remoteJoin({
          ...this.#wish(lane, userId, via),
          content: contentOf(request.content),
          onSigned: async (join) => {
            signed = true
            await this.#remember(lane, userId, join)
          },
        })
        return await this.#enter(lane, joined, userId)
      } catch (error) {
        if (signed) await pendingJoins.fail(parts.sql, lane.shard, lane.roomId, userId)
        throw error
      }
    }
    return this.#run(lane, joining())
  }

  /** Goes on with joins that a restart broke off. */
  async resume(laneOf: (roomId: string) => Lane): Promise<void> {
    const rows = await pendingJoins.list(this.#parts.sql, [...this.#parts.shards.keys()])
    for (const row of rows) this.#resumeOne(laneOf(row.room_id), row, firstRetryMs)
  }

  stop(): void {
    for (const timer of this.#timers) clearTimeout(timer)
  }

  #resumeOne(lane: Lane, row: pendingJoins.PendingJoin, pauseMs: number): void {
    const { sql, now, onError } = this.#parts
    const { user_id: userId, version, event, via } = row
    const resuming = async () => {
      const joined = await resumeJoin({
        ...this.#wish(lane, userId, via),
        content: {},
        onSigned: async () => {},
        signed: { version, event, via },
      })
      await this.#enter(lane, joined, userId)
    }
    this.#run(lane, resuming()).catch((error: unknown) => {
      const final = error instanceof MatrixError && error.status < 500
      if (!final && now() - row.created_at < giveUpMs) {
        const timer = setTimeout(() => {
          this.#timers.delete(timer)
          this.#resumeOne(lane, row, Math.min(2 * pauseMs, maxRetryMs))
        }, pauseMs)
        this.#timers.add(timer)
        return
      }
      onError(error, `a join of ${lane.roomId} is given up`)
      pendingJoins
        .fail(sql, lane.shard, lane.roomId, userId)
        .catch((each: unknown) => onError(each, 'a join could not be given up'))
    })
  }

  #wish(
    lane: Lane,
    userId: string,
    via: readonly string[],
  ): Omit<RemoteJoin, 'content' | 'onSigned'> {
    const { federation, now, limits, keys, signing } = this.#parts
    return {
      federation,
      now,
      deadlineMs: limits.joinMs,
      keys: keys.lookup,
      roomId: lane.roomId,
      userId,
      via: via.filter((server) => server !== signing.serverName),
      signing,
    }
  }

  async #remember(lane: Lane, userId: string, { version, event, via }: SignedJoin): Promise<void> {
    await pendingJoins.put(this.#parts.sql, {
      shard: lane.shard,
      room_id: lane.roomId,
      user_id: userId,
      version,
      event,
      via: [...via],
      created_at: this.#parts.now(),
    })
  }

  async #run<T>(lane: Lane, running: Promise<T>): Promise<T> {
    const { roomId } = lane
    this.#underWay.set(roomId, running)
    try {
      return await running
    } finally {
      this.#underWay.delete(roomId)
      this.#housekeeping.joinEnded(lane)
      // What came meanwhile waits in the inbox.
      lane.inbound.wake()
    }
  }

  async #enter(lane: Lane, joined: JoinedRoom, userId: string): Promise<Landed> {
    const room = await this.#parts.turns.seat(true).run(lane.load())
    if (room?.kind !== 'joined' || !isOurs(this.#parts, room)) {
      const landed = await takeIn(lane, joined, userId)
      takeMarkers(lane).catch((error: unknown) => this.#parts.onError(error, 'markers of a room'))
      return landed
    }
    // We are in the room, and only another server could let this user in: one more event of it. What
    // it cites may be on its way to us.
    const { join: event, json: text, server } = joined
    const until = performance.now() + patienceMs
    for (;;) {
      try {
        return await putIn(lane, { event, text, origin: server })
      } catch (error) {
        const lacks = error instanceof MatrixError && error.errcode === 'M_BAD_STATE'
        if (!lacks || performance.now() > until) throw error
        await Bun.sleep(pauseMs)
      }
    }
  }
}

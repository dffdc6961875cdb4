import { type LetterText, type Line, writeLetter } from '#engine/push/letter.ts'
import { maxQueued } from '#engine/push/sender.ts'
import { type Told, nameKey, readSurroundings, toldOf } from '#engine/push/surroundings.ts'
import type { Log } from '#src/log.ts'
import type { Pool } from '#store/db.ts'
import * as queue from '#store/push/queue.ts'

export type Letter = LetterText & { to: string; headers?: Record<string, string> }

export type LettersOptions = {
  sql: Pool
  log: Pick<Log, 'warn'>
  clock: () => number
  serverName: string
  /** How long something has to be unread before a letter tells of it. */
  delayMs: number
  /** Answers when the SMTP server has taken it. */
  send: (letter: Letter) => Promise<void>
  /** Where a letter's reader can end them: with `pusher` and `token` after it. Undefined: in the client alone. */
  stopUrl?: string
  lookEveryMs?: number
}

/** Letters of one look; the next one goes on. */
const maxLetters = 50
/** After a letter none with more of the same room for so long, the first time and at most. */
const firstPauseMs = 10 * 60_000
const longestPauseMs = 24 * 3600_000
/** A room that was quiet for so long after its pause is as if none had been told of. */
const forgetMs = 12 * 3600_000
/** What could not be sent for so long is not sent any more. */
const giveUpMs = 3 * 24 * 3600_000
const retryMs = [60_000, 300_000, 900_000, 3_600_000]

type Failure = { count: number; until: number }

/**
 * Writes to users by e-mail what they have not read: once it has waited for a while, all of it in one
 * letter, and less and less often of a room that is never read.
 */
export class Letters {
  readonly #options: LettersOptions
  readonly #failures = new Map<number, Failure>()
  #timer: ReturnType<typeof setInterval> | undefined
  #looking: Promise<void> | undefined
  #stopped = false

  constructor(options: LettersOptions) {
    this.#options = options
  }

  start(): void {
    this.#timer = setInterval(() => {
      this.look().catch((error: unknown) => this.#warn(error))
    }, this.#options.lookEveryMs ?? 30_000)
    this.#timer.unref()
  }

  async stop(): Promise<void> {
    this.#stopped = true
    clearInterval(this.#timer)
    await Promise.race([this.#looking, Bun.sleep(1_000)])
  }

  /** Sends what is due; one look at a time. */
  look(): Promise<void> {
    this.#looking ??= this.#look().finally(() => (this.#looking = undefined))
    return this.#looking
  }

  async #look(): Promise<void> {
    const { sql, clock, delayMs } = this.#options
    const long = await queue.longQueues(sql, maxQueued)
    if (long.length > 0)
      await queue.trim(
        sql,
        long.map((row) => row.pusher_id),
        maxQueued,
      )
    const now = clock()
    await queue.dropLetters(sql, now - forgetMs)
    const except = [...this.#failures].flatMap(([id, { until }]) => (until > now ? [id] : []))
    const due = await queue.dueLetters(sql, { now, delayMs, except }, maxLetters)
    if (due.length === 0 || this.#stopped) return
    const items = await queue.take(
      sql,
      due.map((row) => row.pusher_id),
      maxQueued,
    )
    const told = items.filter(({ settled }) => !settled).flatMap((item) => toldOf(item) ?? [])
    const names = await readSurroundings(sql, told)
    const open = Map.groupBy(told, ({ item }) => item.pusher_id)
    for (const [pusherId, all] of Map.groupBy(items, (item) => item.pusher_id)) {
      if (this.#stopped) return
      const lines = (open.get(pusherId) ?? [])
        .filter(({ item }) => !isPaused(item, now) && item.queued_at >= now - giveUpMs)
        .map((each): Line => ({ ...each, ...names.get(nameKey(each))! }))
      await this.#tell(pusherId, all, lines, now)
    }
  }

  async #tell(
    pusherId: number,
    all: readonly queue.Item[],
    lines: readonly Line[],
    now: number,
  ): Promise<void> {
    const { sql, serverName } = this.#options
    if (lines.length > 0)
      try {
        const [first] = all
        const stop = this.#stopLink(first!)
        await this.#options.send({
          to: first!.pushkey,
          ...writeLetter({ serverName, userId: first!.user_id, lines, stop }),
          ...(stop !== undefined && {
            headers: {
              'List-Unsubscribe': `<${stop}>`,
              'List-Unsubscribe-Post': 'List-Unsubscribe=One-Click',
            },
          }),
        })
        this.#failures.delete(pusherId)
      } catch (error) {
        const count = (this.#failures.get(pusherId)?.count ?? 0) + 1
        const pause = retryMs[Math.min(count, retryMs.length) - 1]!
        this.#failures.set(pusherId, { count, until: now + pause })
        this.#warn(error)
        return
      }
    const told = new Set(lines.map(({ item }) => item.queue_no))
    const over = all.filter(
      (item) => item.settled || told.has(item.queue_no) || item.queued_at < now - giveUpMs,
    )
    await sql.begin(async (tx) => {
      await Promise.all([
        over.length > 0 ? queue.dropItems(tx, over) : undefined,
        lines.length > 0 ? queue.noteLetters(tx, pausesOf(pusherId, lines), now) : undefined,
      ])
    })
  }

  #stopLink({ pusher_id: id, stop_token: token }: queue.Item): string | undefined {
    const { stopUrl } = this.#options
    if (stopUrl === undefined || token === null) return undefined
    return `${stopUrl}?pusher=${id}&token=${encodeURIComponent(token)}`
  }

  #warn(error: unknown): void {
    if (!this.#stopped)
      this.#options.log.warn({ err: error }, 'a letter of what is unread was not sent')
  }
}

const isPaused = ({ sent_at: sentAt, pause_ms: pauseMs }: queue.Item, now: number): boolean =>
  sentAt !== null && pauseMs !== null && sentAt + pauseMs > now

/** The rooms that a letter tells of, each with its next pause. */
function pausesOf(pusherId: number, lines: readonly Told[]): queue.LetterRow[] {
  const rooms = new Map(lines.map(({ item }) => [item.room_nid, item]))
  return [...rooms.values()].map(({ shard, room_nid: roomNid, pause_ms: before }) => ({
    shard,
    pusherId,
    roomNid,
    pauseMs: before === null ? firstPauseMs : Math.min(before * 144, longestPauseMs),
  }))
}

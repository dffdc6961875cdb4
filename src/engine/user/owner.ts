import { MatrixError, unavailable } from '#core/error.ts'
import { shardOf } from '#core/shard.ts'
import type { UserCalls, Users } from '#engine/user/protocol.ts'
import { writers } from '#engine/user/writers.ts'
import type { Commit, Placed, UserLanded } from '#engine/user/writers/writer.ts'
import {
  type Pool,
  type Sql,
  holdsNul,
  isConflict,
  isConnectionLost,
  isOutOfResources,
} from '#store/db.ts'
import * as userShards from '#store/user/user-shards.ts'

export type UserShardsOptions = {
  /** Told of what is committed, before the calls are answered. */
  onCommit: (positions: [shard: number, position: number][]) => void
  /** Told of the servers that have new EDUs in the outbox, after the commit. */
  onOutbox?: (servers: string[]) => void
  /** Whether other servers may know what users call their devices. */
  deviceNames?: boolean
  /** Told of an error that one call alone runs into. */
  onFault?: (error: unknown, method: string) => void
  maxBatch?: number
  /** Calls that may wait; more are refused. */
  maxWaiting?: number
}

type Method = keyof UserCalls

type Call = {
  method: Method
  userId: string
  shard: number
  args: unknown[]
  resolve: (landed: UserLanded) => void
  reject: (error: unknown) => void
}

type Outcome = { call: Call; result: UserLanded | MatrixError }

/** Two, so that a slow commit of some shards does not hold up the others. */
const maxCommits = 2
const conflictRetries = 3
/** How often a batch looks for a database that went away; it waits four times as long each time. */
const lostRetries = 5
const lostRetryMs = 10

/**
 * The owner of the user shards. Calls that come while a commit is in flight go into the next one
 * together; a shard is in one commit at a time, whose first step locks the shard's row: commit order
 * is position order. A batch that fails is split until what fails alone is alone.
 */
export class UserShards implements Users {
  readonly #sql: Pool
  readonly #options: UserShardsOptions
  readonly #maxBatch: number
  readonly #maxWaiting: number
  /** Calls by shard; the shard that has waited longest is first. */
  readonly #waiting = new Map<number, Call[]>()
  readonly #busy = new Set<number>()
  readonly #commits = new Set<Promise<void>>()
  #count = 0
  /** Messages to devices that were not kept, because very many wait already. */
  notKept = 0
  #closed = false

  constructor(sql: Pool, options: UserShardsOptions) {
    this.#sql = sql
    this.#options = options
    this.#maxBatch = options.maxBatch ?? 500
    this.#maxWaiting = options.maxWaiting ?? 10_000
  }

  /** Calls that are not yet in a commit. */
  get waiting(): number {
    return this.#count
  }

  call<M extends Method>(
    method: M,
    ...[userId, ...args]: Parameters<UserCalls[M]>
  ): Promise<ReturnType<UserCalls[M]>> {
    if (this.#closed) return Promise.reject(unavailable('The server is ending'))
    if (this.#count >= this.#maxWaiting)
      return Promise.reject(unavailable('Too many changes are waiting'))
    const { promise, resolve, reject } = Promise.withResolvers<UserLanded>()
    const shard = shardOf(userId)
    const call = { method, userId, shard, args, resolve, reject }
    const calls = this.#waiting.get(shard)
    if (calls) calls.push(call)
    else this.#waiting.set(shard, [call])
    if (this.#count++ === 0) queueMicrotask(() => this.#pump())
    else this.#pump()
    return promise as Promise<ReturnType<UserCalls[M]>>
  }

  /** Takes no more calls, and waits for those that are here. */
  async close(): Promise<void> {
    this.#closed = true
    while (this.#commits.size > 0) await Promise.all(this.#commits)
  }

  #pump(): void {
    while (this.#commits.size < maxCommits) {
      const batch = this.#take()
      if (batch.length === 0) return
      const shards = new Set(batch.map(({ shard }) => shard))
      for (const shard of shards) this.#busy.add(shard)
      const commit = this.#settle(batch).finally(() => {
        for (const shard of shards) this.#busy.delete(shard)
        this.#commits.delete(commit)
        this.#pump()
      })
      this.#commits.add(commit)
    }
  }

  /** The next batch: of each shard in turn what may go together, in the order of arrival. */
  #take(): Call[] {
    const batch: Call[] = []
    // A shard whose calls are left over goes to the end, and must not be met again.
    for (const [shard, calls] of Array.from(this.#waiting)) {
      if (this.#busy.has(shard)) continue
      if (batch.length >= this.#maxBatch) break
      const { taken, left } = compatible(calls, this.#maxBatch - batch.length)
      for (const call of taken) batch.push(call)
      this.#waiting.delete(shard)
      if (left.length > 0) this.#waiting.set(shard, left)
    }
    this.#count -= batch.length
    return batch
  }

  /** Commits a batch, or else its halves; every call is answered. */
  async #settle(batch: Call[]): Promise<void> {
    let outcomes
    const commit: Commit = {
      deviceNames: this.#options.deviceNames ?? false,
      outbox: new Set(),
      notKept: 0,
    }
    try {
      outcomes = await this.#commitSurely(batch, commit)
    } catch (error) {
      // Halves would fail likewise where the database is the reason.
      const away = error instanceof MatrixError || isOutOfResources(error)
      if (away || batch.length === 1) {
        if (!away && !holdsNul(error)) this.#options.onFault?.(error, batch[0]!.method)
        for (const call of batch) call.reject(error)
        return
      }
      const middle = batch.length >> 1
      await this.#settle(batch.slice(0, middle))
      await this.#settle(batch.slice(middle))
      return
    }
    this.notKept += commit.notKept
    this.#options.onCommit(lastPositions(outcomes))
    if (commit.outbox.size > 0) this.#options.onOutbox?.([...commit.outbox])
    for (const { call, result } of outcomes)
      if (result instanceof MatrixError) call.reject(result)
      else call.resolve(result)
  }

  /** Commits a batch once, also when a connection is lost and nobody knows what became of it. */
  async #commitSurely(batch: Call[], commit: Commit): Promise<Outcome[]> {
    let id = crypto.randomUUID()
    let outcomes: Outcome[] = []
    let unknown = false
    for (let lost = 0, conflicts = 0; ;) {
      try {
        if (unknown) {
          if (await userShards.wasNoted(this.#sql, id)) return outcomes
          // The question has used the name up, so that a commit still on its way must fail.
          id = crypto.randomUUID()
          unknown = false
        }
        await this.#sql.begin(async (sql) => {
          outcomes = await write(sql, batch, id, commit)
        })
        return outcomes
      } catch (error) {
        if (isConnectionLost(error)) {
          unknown = true
          if (++lost > lostRetries) throw unavailable('The database is away')
          await Bun.sleep(lostRetryMs * 4 ** (lost - 1))
        } else if (!isConflict(error) || ++conflicts > conflictRetries) throw error
      }
    }
  }
}

/**
 * Of one shard's calls those that may be written together: several of one user only if they are of
 * one kind that keeps their order. The others keep theirs for the next batch.
 */
function compatible(calls: readonly Call[], room: number): { taken: Call[]; left: Call[] } {
  const kinds = new Map<string, Method | 'full'>()
  const taken: Call[] = []
  const left: Call[] = []
  for (const call of calls) {
    const kind = kinds.get(call.userId)
    const fits = kind === undefined || (kind === call.method && writers[call.method].many)
    if (fits && taken.length < room) {
      kinds.set(call.userId, call.method)
      taken.push(call)
    } else {
      kinds.set(call.userId, 'full')
      left.push(call)
    }
  }
  return { taken, left }
}

/** Gives out positions and writes a batch in a transaction. */
async function write(
  sql: Sql,
  batch: readonly Call[],
  id: string,
  commit: Commit,
): Promise<Outcome[]> {
  const shards = [...new Set(batch.map(({ shard }) => shard))].sort((a, b) => a - b)
  const next = new Map<number, number>()
  for (const { shard, position } of await userShards.lock(sql, shards)) next.set(shard, position)

  const outcomes: Outcome[] = []
  const byMethod = new Map<Method, { placed: Placed[]; places: number[] }>()
  for (const [index, call] of batch.entries()) {
    const { method, shard, userId, args } = call
    const position = next.get(shard)! + 1
    next.set(shard, position)
    outcomes.push({ call, result: { shard, position } })
    let group = byMethod.get(method)
    if (!group) byMethod.set(method, (group = { placed: [], places: [] }))
    group.placed.push({ shard, userId, position, args })
    group.places.push(index)
  }
  const positions = [...next].map(([shard, position]) => ({ shard, position }))
  const writes = [...byMethod].map(async ([method, { placed, places }]) => {
    const results = await writers[method].write(sql, placed as never, commit)
    for (const [index, result] of results ?? []) {
      const { shard, position } = placed[index]!
      outcomes[places[index]!]!.result =
        result instanceof MatrixError ? result : { shard, position, ...(result as object) }
    }
  })
  // All of them: a statement sent after the end would run outside of the transaction.
  const ends = await Promise.allSettled([
    userShards.note(sql, id),
    userShards.advance(sql, positions, id),
    ...writes,
  ])
  const failure = ends.find((end) => end.status === 'rejected')
  if (failure) throw failure.reason
  return outcomes
}

function lastPositions(outcomes: readonly Outcome[]): [number, number][] {
  const last = new Map<number, number>()
  for (const { result } of outcomes)
    if (!(result instanceof MatrixError)) last.set(result.shard, result.position)
  return [...last]
}

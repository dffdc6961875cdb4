import { MatrixError, RemoteError } from '#core/error.ts'
import { domainOf } from '#core/ids.ts'
import { shardOf } from '#core/shard.ts'
import { askForObject, isTransient, malformedAnswer, pathOf } from '#engine/federation/answer.ts'
import { keysInList, storedDevices, storedKeys } from '#engine/user/keys/remote-answer.ts'
import { anchorOf } from '#engine/user/keys/remote-keys.ts'
import type { Users } from '#engine/user/protocol.ts'
import type { Federation } from '#engine/worker/protocol.ts'
import type { Sql } from '#store/db.ts'
import * as remoteDevices from '#store/user/remote-devices.ts'

export type ResyncOptions = {
  sql: Sql
  serverName: string
  clock: () => number
  users: Users
  federation: Federation
  /** Told of what is no failure of another server. */
  onFault: (error: unknown) => void
}

/** Servers that are asked at once, each for one list at a time. */
const maxServers = 16
const atOnce = 100
const deadlineMs = 30_000
const maxBytes = 8 * 1024 * 1024
/** Not spec: pauses between tries for one list, and how late a list may be noticed. */
const firstPauseMs = 10_000
const longestPauseMs = 3_600_000
const lookEveryMs = 60_000

/**
 * Fetches device lists of which updates were missed. Which they are is in the database, and so is
 * when to try again: a restart goes on where it was.
 *
 * Spec: server-server-api/#device-management
 */
export class Resync {
  readonly #options: ResyncOptions
  readonly #busy = new Map<string, Promise<void>>()
  #looking: Promise<void> | undefined
  #again = false
  #timer: ReturnType<typeof setTimeout> | undefined
  #stopped = false

  constructor(options: ResyncOptions) {
    this.#options = options
  }

  /** Looks for lists that are due. */
  wake(): void {
    if (this.#stopped) return
    if (this.#looking) {
      this.#again = true
      return
    }
    clearTimeout(this.#timer)
    this.#looking = this.#look()
      .catch((error: unknown) => {
        this.#options.onFault(error)
        this.#later(lookEveryMs)
      })
      .finally(() => {
        this.#looking = undefined
        if (this.#again) this.wake()
      })
  }

  async stop(): Promise<void> {
    this.#stopped = true
    clearTimeout(this.#timer)
    await this.#looking
    await Promise.all(this.#busy.values())
  }

  async #look(): Promise<void> {
    this.#again = false
    const { sql, clock } = this.#options
    const now = clock()
    const rows = await remoteDevices.due(sql, now, [...this.#busy.keys()], atOnce)
    const byServer = Map.groupBy(rows, ({ user_id }) => domainOf(user_id)!)
    for (const [server, lists] of byServer) {
      if (this.#stopped || this.#busy.size >= maxServers) return
      const work = this.#fetchAll(lists).finally(() => {
        this.#busy.delete(server)
        this.wake()
      })
      this.#busy.set(server, work)
    }
    if (this.#busy.size > 0) return
    const next = await remoteDevices.nextDue(sql, now)
    this.#later(next === undefined ? lookEveryMs : Math.min(next - now, lookEveryMs))
  }

  #later(ms: number): void {
    if (this.#stopped) return
    clearTimeout(this.#timer)
    this.#timer = setTimeout(() => this.wake(), Math.max(ms, 10))
    this.#timer.unref()
  }

  async #fetchAll(lists: readonly remoteDevices.DueList[]): Promise<void> {
    for (const { user_id: userId, failures } of lists) {
      if (this.#stopped) return
      try {
        await this.#fetch(userId)
      } catch (error) {
        if (!(error instanceof RemoteError)) this.#options.onFault(error)
        await this.#postpone(userId, failures)
      }
    }
  }

  async #postpone(userId: string, failures: number): Promise<void> {
    const { users, clock, onFault } = this.#options
    const pause = Math.min(firstPauseMs * 2 ** Math.min(failures, 20), longestPauseMs)
    await users
      .call('postponeRemoteList', userId, clock() + Math.round(pause * (0.75 + Math.random() / 2)))
      .catch(onFault)
  }

  async #fetch(userId: string): Promise<void> {
    const { sql, serverName, users, federation } = this.#options
    const [standing] = await remoteDevices.standings(sql, serverName, [userId], [shardOf(userId)])
    const anchor = standing && anchorOf(standing)
    if (!anchor) {
      await users.call('abandonRemoteList', userId)
      return
    }
    const destination = domainOf(userId)!
    const answer = await askForObject(federation, {
      destination,
      method: 'GET',
      uri: pathOf('/_matrix/federation/v1/user/devices', userId),
      deadlineMs,
      maxBytes,
    }).catch((error: unknown) => {
      // The user is not there: neither are devices.
      if (error instanceof RemoteError && error.status === 404 && !isTransient(error))
        return undefined
      throw error
    })
    if (!answer) {
      await users.call('abandonRemoteList', userId)
      return
    }
    const list = keysInList(answer, userId)
    if (!list) throw malformedAnswer(destination, 'is not a list of devices')
    await users
      .call('keepRemoteList', userId, {
        devices: storedDevices(list),
        keys: storedKeys(userId, list.crossSigning),
        streamId: list.streamId ?? null,
        anchor,
        askedAt: standing.position,
        announce: true,
      })
      // It changed in between, is still stale, and is asked for again.
      .catch((error: unknown) => {
        if (!(error instanceof MatrixError) || error.status !== 409) throw error
      })
  }
}

import { parseJson } from '#core/canonical-json.ts'
import { MatrixError, RemoteError } from '#core/error.ts'
import { domainOf } from '#core/ids.ts'
import type { JsonObject } from '#core/json.ts'
import { isDeviceKeys } from '#core/keys/device-keys.ts'
import { shardOf } from '#core/shard.ts'
import { askForObject } from '#engine/federation/answer.ts'
import { inTurns } from '#engine/user/keys/in-turns.ts'
import { keysInQuery, storedDevices, storedKeys } from '#engine/user/keys/remote-answer.ts'
import { type UserKeys, newUserKeys } from '#engine/user/keys/published.ts'
import type { Users } from '#engine/user/protocol.ts'
import type { Federation } from '#engine/worker/protocol.ts'
import type { Sql } from '#store/db.ts'
import * as crossSigningKeys from '#store/user/cross-signing-keys.ts'
import * as remoteDevices from '#store/user/remote-devices.ts'

export type RemoteKeysOptions = {
  sql: Sql
  serverName: string
  users: Users
  federation: Federation
  /** Told of a list that could not be kept. */
  onFault: (error: unknown) => void
}

export type Failure = { errcode: string; error: string }

export type RemoteAnswer = {
  users: Map<string, UserKeys>
  failures: Map<string, Failure>
}

/** Users that one request asks for. */
const maxUsers = 250
const maxBytes = 32 * 1024 * 1024

/**
 * The keys of users of other servers: from the lists that are kept here and good, else from their
 * server. What is asked for twice at once is asked once. A list is kept while a room is shared.
 *
 * Spec: server-server-api/#device-management
 */
export class RemoteKeys {
  readonly #options: RemoteKeysOptions
  /** By user and position of their list: a request from before a change does not serve one after it. */
  readonly #asking = new Map<string, Promise<Map<string, UserKeys>>>()

  constructor(options: RemoteKeysOptions) {
    this.#options = options
  }

  async of(userIds: readonly string[], deadlineMs: number): Promise<RemoteAnswer> {
    const answer: RemoteAnswer = { users: new Map(), failures: new Map() }
    if (userIds.length === 0) return answer
    const { sql, serverName } = this.#options
    const shards = userIds.map((userId) => shardOf(userId))
    const standings = await remoteDevices.standings(sql, serverName, userIds, shards)
    const kept = await this.#kept(standings.filter(({ cached }) => cached))
    const missing = new Map<string, remoteDevices.Standing[]>()
    for (const standing of standings) {
      const user = standing.is_good ? kept.get(standing.user_id) : undefined
      // Half of the signing keys: the list was kept between two updates.
      const isWhole = user && !user.crossSigning.master === !user.crossSigning.self_signing
      if (isWhole) {
        answer.users.set(standing.user_id, user)
        continue
      }
      const server = domainOf(standing.user_id)!
      const list = missing.get(server)
      if (list) list.push(standing)
      else missing.set(server, [standing])
    }
    await Promise.all(
      Array.from(missing, ([server, wanted]) => this.#fetch(server, wanted, deadlineMs, answer)),
    )
    // An old list is better than none for a server that is away; its failure says that it may be old.
    for (const { user_id } of standings)
      if (
        !answer.users.has(user_id) &&
        answer.failures.has(domainOf(user_id)!) &&
        kept.has(user_id)
      )
        answer.users.set(user_id, kept.get(user_id)!)
    return answer
  }

  async #fetch(
    server: string,
    wanted: readonly remoteDevices.Standing[],
    deadlineMs: number,
    answer: RemoteAnswer,
  ): Promise<void> {
    const name = ({ user_id, position }: remoteDevices.Standing) => `${user_id} ${position}`
    const fresh = wanted.filter((each) => !this.#asking.has(name(each)))
    for (let from = 0; from < fresh.length; from += maxUsers) {
      const part = fresh.slice(from, from + maxUsers)
      const asked = this.#ask(server, part, deadlineMs).finally(() => {
        for (const each of part) this.#asking.delete(name(each))
      })
      for (const each of part) this.#asking.set(name(each), asked)
    }
    const { promise: late, reject } = Promise.withResolvers<never>()
    const timer = setTimeout(
      () => reject(new RemoteError(server, 0, 'M_UNKNOWN', `${server} did not answer in time`)),
      deadlineMs,
    )
    // Whoever asked first may have been more patient.
    await Promise.all(
      wanted.map(async (each) => {
        const found = await Promise.race([this.#asking.get(name(each)), late])
        answer.users.set(each.user_id, found!.get(each.user_id)!)
      }),
    )
      .catch((error: unknown) => {
        answer.failures.set(server, failureOf(error))
      })
      .finally(() => clearTimeout(timer))
  }

  async #ask(
    server: string,
    wanted: readonly remoteDevices.Standing[],
    deadlineMs: number,
  ): Promise<Map<string, UserKeys>> {
    const body = {
      device_keys: Object.fromEntries(wanted.map(({ user_id }) => [user_id, [] as string[]])),
    }
    const answer = await askForObject(this.#options.federation, {
      destination: server,
      method: 'POST',
      uri: '/_matrix/federation/v1/user/keys/query',
      body: JSON.stringify(body),
      deadlineMs,
      maxBytes,
    })
    const found = new Map<string, UserKeys>()
    for (const { user_id } of wanted) found.set(user_id, keysInQuery(answer, user_id))
    await inTurns(wanted.map((each) => () => this.#keep(each, found.get(each.user_id)!)))
    return found
  }

  /** Keeps the list of a user with whom a room is shared, unless it changed while it was asked for. */
  async #keep(standing: remoteDevices.Standing, user: UserKeys): Promise<void> {
    const anchor = anchorOf(standing)
    if (!anchor) return
    const { users, onFault } = this.#options
    await users
      .call('keepRemoteList', standing.user_id, {
        devices: storedDevices(user),
        keys: storedKeys(standing.user_id, user.crossSigning),
        streamId: null,
        anchor,
        askedAt: standing.position,
        announce: false,
      })
      .catch((error: unknown) => {
        if (!(error instanceof MatrixError)) onFault(error)
      })
  }

  async #kept(standings: readonly remoteDevices.Standing[]): Promise<Map<string, UserKeys>> {
    const { sql } = this.#options
    const userIds = standings.map(({ user_id }) => user_id)
    const found = new Map(userIds.map((userId) => [userId, newUserKeys()]))
    if (userIds.length === 0) return found
    const shards = userIds.map((userId) => shardOf(userId))
    const [devices, keys] = await Promise.all([
      remoteDevices.list(sql, userIds, shards),
      crossSigningKeys.list(sql, userIds, shards),
    ])
    for (const { user_id, device_id, content } of devices) {
      const { keys: own, device_display_name: displayName } = parseJson(content) as JsonObject
      if (!isDeviceKeys(own)) continue
      const named = typeof displayName === 'string' ? displayName : undefined
      found.get(user_id)!.devices.set(device_id, { keys: own, displayName: named })
    }
    for (const { user_id, usage, json } of keys)
      found.get(user_id)!.crossSigning[usage] = parseJson(json) as JsonObject
    return found
  }
}

/** A room that keeps the list of a user true. */
export function anchorOf(standing: remoteDevices.Standing): remoteDevices.Anchor | undefined {
  const { shard, room_nid: roomNid, generation, since } = standing
  if (shard === null || roomNid === null || generation === null || since === null) return undefined
  return { shard, roomNid, generation, position: since }
}

/** What clients are told of a server that could not be asked. */
export function failureOf(error: unknown): Failure {
  if (error instanceof RemoteError) return { errcode: error.errcode, error: error.message }
  if (error instanceof MatrixError) return { errcode: error.errcode, error: error.message }
  throw error
}

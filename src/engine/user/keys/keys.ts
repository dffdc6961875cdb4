import { parseJson } from '#core/canonical-json.ts'
import { domainOf, isUserId } from '#core/ids.ts'
import {
  type CheckedSignatures,
  type KnownKeys,
  checkSignatures,
} from '#core/keys/check-signatures.ts'
import { isObject, type Json, type JsonObject, setKey } from '#core/json.ts'
import { askForObject } from '#engine/federation/answer.ts'
import { Gate } from '#engine/user/keys/gate.ts'
import { inTurns } from '#engine/user/keys/in-turns.ts'
import {
  type OwnSignatures,
  type UserKeys,
  readPublished,
  visibleDevice,
  visibleKey,
} from '#engine/user/keys/published.ts'
import { memberOf } from '#engine/user/keys/remote-answer.ts'
import { type Failure, RemoteKeys, failureOf } from '#engine/user/keys/remote-keys.ts'
import type { Users } from '#engine/user/protocol.ts'
import type { Federation } from '#engine/worker/protocol.ts'
import type { Sql } from '#store/db.ts'

export type KeysOptions = {
  sql: Sql
  serverName: string
  clock: () => number
  users: Users
  federation: Federation
  /** Whether other servers may know what users call their devices. */
  deviceNames: boolean
  onFault: (error: unknown) => void
}

/** By user, the devices that are asked for; none of them is all of them. */
export type WantedDevices = ReadonlyMap<string, readonly string[]>
/** By user and device, the algorithm of the key that is wanted. */
export type WantedKeys = ReadonlyMap<string, ReadonlyMap<string, string>>

/** Queries of one device that run at once, and those that may wait for their turn. */
const atOnce = 10
const maxWaiting = 1000
const signDeadlineMs = 10_000
const maxClaimBytes = 8 * 1024 * 1024

/** What clients and other servers ask about keys. */
export class Keys {
  readonly #options: KeysOptions
  readonly #remote: RemoteKeys
  readonly #gate = new Gate(atOnce, maxWaiting)

  constructor(options: KeysOptions) {
    this.#options = options
    this.#remote = new RemoteKeys(options)
  }

  /** Queries that wait until others of their device are answered. */
  get waiting(): number {
    return this.#gate.waiting
  }

  /**
   * Answers a client. One look for all local users, one request for each other server; a server that
   * fails is named, and fails nothing else.
   *
   * Spec: client-server-api/#post_matrixclientv3keysquery
   */
  query(
    viewer: { userId: string; deviceId: string | undefined },
    wanted: WantedDevices,
    deadlineMs: number,
  ): Promise<JsonObject> {
    return this.#gate.run(`${viewer.userId} ${viewer.deviceId ?? ''}`, async () => {
      const { sql } = this.#options
      const { local, remote } = this.#split(wanted.keys())
      const [published, others] = await Promise.all([
        readPublished(sql, local, viewer.userId, [...wanted.keys()]),
        this.#remote.of(remote, deadlineMs),
      ])
      const answer = new QueryAnswer(viewer.userId, published.own)
      for (const [userId, user] of [...published.users, ...others.users])
        answer.add(userId, user, wanted.get(userId)!, true)
      return answer.json(others.failures)
    })
  }

  /**
   * Checks signatures that a user made, and keeps the good ones; answers what is wrong with others.
   *
   * Spec: client-server-api/#post_matrixclientv3keyssignaturesupload
   */
  async sign(signer: string, uploaded: JsonObject): Promise<CheckedSignatures['faults']> {
    const { sql, users } = this.#options
    const { local, remote } = this.#split(new Set([signer, ...Object.keys(uploaded)]))
    const [published, others] = await Promise.all([
      readPublished(sql, local),
      this.#remote.of(remote, signDeadlineMs),
    ])
    const known = new Map<string, KnownKeys>()
    for (const [userId, { devices, crossSigning }] of [...published.users, ...others.users])
      known.set(userId, {
        devices: new Map(Array.from(devices, ([deviceId, { keys }]) => [deviceId, keys])),
        master: crossSigning.master,
        selfSigning: crossSigning.self_signing,
        userSigning: crossSigning.user_signing,
      })
    const { good, faults } = checkSignatures(signer, uploaded, known)
    if (good.length > 0) await users.call('addSignatures', signer, good)
    return faults
  }

  /** Answers another server about users of this one. */
  async queryLocal(wanted: WantedDevices): Promise<JsonObject> {
    const { local } = this.#split(wanted.keys())
    const { users, own } = await readPublished(this.#options.sql, local)
    const answer = new QueryAnswer(undefined, own)
    for (const [userId, user] of users)
      answer.add(userId, user, wanted.get(userId)!, this.#options.deviceNames)
    return answer.json()
  }

  /**
   * The whole list of a local user's devices, as other servers keep it.
   *
   * Spec: server-server-api/#get_matrixfederationv1userdevicesuserid
   */
  async listOf(userId: string): Promise<JsonObject> {
    const { users, own } = await readPublished(this.#options.sql, [userId])
    const { devices, crossSigning, streamId } = users.get(userId)!
    const list = Array.from(devices, ([deviceId, { keys, displayName }]) => ({
      device_id: deviceId,
      keys,
      ...(this.#options.deviceNames &&
        displayName !== undefined && { device_display_name: displayName }),
    }))
    const { master, self_signing: selfSigning } = crossSigning
    const visible = (key: JsonObject) => visibleKey(key, userId, undefined, own)
    return {
      user_id: userId,
      stream_id: streamId ?? 0,
      devices: list,
      ...(master && { master_key: visible(master) }),
      ...(selfSigning && { self_signing_key: visible(selfSigning) }),
    }
  }

  /**
   * Answers a client with keys to begin sessions with.
   *
   * Spec: client-server-api/#post_matrixclientv3keysclaim
   */
  async claim(wanted: WantedKeys, deadlineMs: number): Promise<JsonObject> {
    const { remote } = this.#split(wanted.keys())
    const byServer = Map.groupBy(remote, (userId) => domainOf(userId)!)
    const failures = new Map<string, Failure>()
    const [keys, ...answers] = await Promise.all([
      this.claimLocal(wanted),
      ...Array.from(byServer, ([server, userIds]) =>
        this.#claimRemote(server, userIds, wanted, deadlineMs).catch((error: unknown) => {
          failures.set(server, failureOf(error))
          return {}
        }),
      ),
    ])
    return {
      one_time_keys: Object.assign({}, keys, ...answers) as JsonObject,
      failures: Object.fromEntries(failures),
    }
  }

  /** Keys of users of this server, by user, device, and the key's name. */
  async claimLocal(wanted: WantedKeys): Promise<JsonObject> {
    const { users, clock } = this.#options
    const { local } = this.#split(wanted.keys())
    const claimed = await inTurns(
      local.map((userId) => async () => {
        const { keys } = await users.call('claimKeys', userId, [...wanted.get(userId)!], clock())
        return [userId, keys] as const
      }),
    )
    const found: JsonObject = {}
    for (const [userId, keys] of claimed) {
      if (keys.length === 0) continue
      const devices: JsonObject = {}
      for (const [deviceId, algorithm, keyId, json] of keys)
        setKey(devices, deviceId, { [`${algorithm}:${keyId}`]: parseJson(json)! })
      found[userId] = devices
    }
    return found
  }

  async #claimRemote(
    server: string,
    userIds: readonly string[],
    wanted: WantedKeys,
    deadlineMs: number,
  ): Promise<JsonObject> {
    const asked: JsonObject = {}
    for (const userId of userIds) asked[userId] = Object.fromEntries(wanted.get(userId)!)
    const answer = await askForObject(this.#options.federation, {
      destination: server,
      method: 'POST',
      uri: '/_matrix/federation/v1/user/keys/claim',
      body: JSON.stringify({ one_time_keys: asked }),
      deadlineMs,
      maxBytes: maxClaimBytes,
    })
    const found: JsonObject = {}
    for (const userId of userIds) {
      const given = memberOf(answer['one_time_keys'], userId)
      const devices: JsonObject = {}
      for (const [deviceId, algorithm] of wanted.get(userId)!) {
        const keys = memberOf(given, deviceId)
        // A server gives what it was asked for, or nothing.
        const named = Object.entries(keys ?? {}).filter(isKeyOf(algorithm))
        if (named.length > 0) setKey(devices, deviceId, Object.fromEntries(named))
      }
      if (Object.keys(devices).length > 0) found[userId] = devices
    }
    return found
  }

  /** Whose keys are here, and whose are elsewhere; what is no user ID is nowhere. */
  #split(userIds: Iterable<string>): { local: string[]; remote: string[] } {
    const { serverName } = this.#options
    const local: string[] = []
    const remote: string[] = []
    for (const userId of userIds)
      if (isUserId(userId)) (domainOf(userId) === serverName ? local : remote).push(userId)
    return { local, remote }
  }
}

const isKeyOf =
  (algorithm: string) =>
  ([name, key]: [string, Json]): boolean =>
    name.startsWith(`${algorithm}:`) && (typeof key === 'string' || isObject(key))

class QueryAnswer {
  readonly #viewer: string | undefined
  readonly #own: OwnSignatures
  readonly #devices: JsonObject = {}
  readonly #masters: JsonObject = {}
  readonly #selfSigning: JsonObject = {}
  readonly #userSigning: JsonObject = {}

  constructor(viewer: string | undefined, own: OwnSignatures) {
    this.#viewer = viewer
    this.#own = own
  }

  add(userId: string, user: UserKeys, deviceIds: readonly string[], withNames: boolean): void {
    const devices: JsonObject = {}
    for (const [deviceId, device] of user.devices)
      if (deviceIds.length === 0 || deviceIds.includes(deviceId))
        setKey(devices, deviceId, visibleDevice(device, withNames))
    this.#devices[userId] = devices
    const { master, self_signing: selfSigning, user_signing: userSigning } = user.crossSigning
    if (master) this.#masters[userId] = this.#visible(userId, master)
    if (selfSigning) this.#selfSigning[userId] = this.#visible(userId, selfSigning)
    if (userSigning && userId === this.#viewer)
      this.#userSigning[userId] = this.#visible(userId, userSigning)
  }

  json(failures?: ReadonlyMap<string, Failure>): JsonObject {
    return {
      device_keys: this.#devices,
      master_keys: this.#masters,
      self_signing_keys: this.#selfSigning,
      ...(this.#viewer !== undefined && { user_signing_keys: this.#userSigning }),
      ...(failures && { failures: Object.fromEntries(failures) }),
    }
  }

  #visible(userId: string, key: JsonObject): JsonObject {
    return visibleKey(key, userId, this.#viewer, this.#own)
  }
}

import { silent } from './silent-log.ts'
import { createHmac } from 'node:crypto'
import {
  type AuthDict,
  ClientEvent,
  EventStatus,
  EventTimeline,
  EventType,
  type IStartClientOpts,
  type LoginResponse,
  type MatrixClient,
  MatrixError,
  type MatrixEvent,
  Method,
  type RegisterRequest,
  type RegisterResponse,
  type Room,
  RoomEvent,
  SyncState,
  type UIAuthCallback,
  createClient,
} from 'matrix-js-sdk'
import type { CryptoApi } from 'matrix-js-sdk/lib/crypto-api/index.js'
import { RustBackupManager } from 'matrix-js-sdk/lib/rust-crypto/backup.js'
import { type MSC3575List, SlidingSync } from 'matrix-js-sdk/lib/sliding-sync.js'
import { until } from '../until.ts'

// A client waits for up to ten seconds before it begins to back up keys, so that not all of them come
// at once.
Object.assign(RustBackupManager, { maxBackupLoopStartDelayMillis: 50 })

/** How a client hears of what is new. */
export type Hearing = '/sync' | 'sliding sync'

export type ClientOptions = {
  hearing?: Hearing
  /** How many events of a room it is shown at once. */
  atOnce?: number
  /** What requests go through, for a test that looks at them. */
  fetch?: typeof globalThis.fetch
}

/** How many events of a room a client is shown at once. */
const shown = 20

const tokenStage = 'm.login.registration_token'

type Challenge = { session: string; flows: { stages: string[] }[] }

/** What a server asks of whoever does not say yet who they are. */
async function challenge(attempt: Promise<unknown>): Promise<Challenge> {
  try {
    await attempt
  } catch (error) {
    if (error instanceof MatrixError && error.httpStatus === 401) return error.data as never
    throw error
  }
  throw new Error('was not asked for anything')
}

/** One list of all rooms, with what a client asks of a room that is shown. */
function slidingSync(baseUrl: string, client: MatrixClient): SlidingSync {
  const all: MSC3575List = {
    ranges: [[0, 99]],
    timeline_limit: shown,
    required_state: [
      [EventType.RoomCreate, ''],
      [EventType.RoomName, ''],
      [EventType.RoomEncryption, ''],
      [EventType.RoomJoinRules, ''],
      [EventType.RoomPowerLevels, ''],
      [EventType.SpaceChild, '*'],
      [EventType.RoomMember, '$ME'],
      [EventType.RoomMember, '$LAZY'],
    ],
  }
  return new SlidingSync(
    baseUrl,
    new Map([['all', all]]),
    { timeline_limit: shown, required_state: [] },
    client,
    30_000,
  )
}

const textsOf = (events: MatrixEvent[]): string[] =>
  events
    .filter((event) => event.getType() === (EventType.RoomMessage as string))
    .map((event) => event.getContent()['body'] as string)

/** What somebody keeps in mind, beside their devices: a password and the key of their secrets. */
export class Account {
  readonly userId: string
  readonly #baseUrl: string
  readonly #password: string
  readonly #options: ClientOptions
  #secret: Uint8Array<ArrayBuffer> | undefined

  private constructor(baseUrl: string, userId: string, password: string, options: ClientOptions) {
    this.#baseUrl = baseUrl
    this.userId = userId
    this.#password = password
    this.#options = options
  }

  /** As anybody registers who was given a token; that is their first device, too. */
  static async registerByToken(
    baseUrl: string,
    name: string,
    token: string,
    options: ClientOptions = {},
  ): Promise<{ account: Account; device: EncryptedDevice }> {
    const password = `${name}-password`
    const client = createClient({ baseUrl, logger: silent })
    const wanted: RegisterRequest = { username: name, password }
    const asked = await challenge(client.registerRequest(wanted))
    if (!asked.flows.some(({ stages }) => stages.join() === tokenStage))
      throw new Error(`no way to register by a token alone: ${JSON.stringify(asked.flows)}`)
    const auth = { type: tokenStage, token, session: asked.session } as AuthDict
    const made = await client.registerRequest({ ...wanted, auth })
    const account = new Account(baseUrl, made.user_id, password, options)
    return { account, device: await account.#open(made) }
  }

  static async register(
    baseUrl: string,
    name: string,
    secret: string,
    options: ClientOptions = {},
  ): Promise<Account> {
    const url = `${baseUrl}/_synapse/admin/v1/register`
    const { nonce } = (await (await fetch(url)).json()) as { nonce: string }
    const password = `${name}-password`
    const mac = createHmac('sha1', secret)
      .update([nonce, name, password, 'notadmin'].join('\0'))
      .digest('hex')
    const made = await fetch(url, {
      method: 'POST',
      body: JSON.stringify({ nonce, username: name, password, admin: false, mac }),
    })
    const { user_id: userId } = (await made.json()) as { user_id: string }
    return new Account(baseUrl, userId, password, options)
  }

  /** A new device, with the Rust crypto of matrix-js-sdk, that has finished its first sync. */
  async logIn(): Promise<EncryptedDevice> {
    const login = await createClient({ baseUrl: this.#baseUrl, logger: silent }).loginRequest({
      type: 'm.login.password',
      identifier: { type: 'm.id.user', user: this.userId },
      password: this.#password,
    })
    return this.#open(login)
  }

  async #open(session: LoginResponse | RegisterResponse): Promise<EncryptedDevice> {
    const { hearing, atOnce = shown, fetch: fetchFn } = this.#options
    const client = createClient({
      baseUrl: this.#baseUrl,
      userId: session.user_id,
      accessToken: session.access_token!,
      deviceId: session.device_id!,
      logger: silent,
      timelineSupport: true,
      ...(fetchFn && { fetchFn }),
      cryptoCallbacks: {
        getSecretStorageKey: async ({ keys }) => [Object.keys(keys)[0]!, this.#secret!],
      },
    })
    const device = new EncryptedDevice(client)
    await client.initRustCrypto({ useIndexedDB: false })
    const ready = Promise.withResolvers<void>()
    client.on(ClientEvent.Sync, (state) => {
      if (state === SyncState.Prepared) ready.resolve()
    })
    await client.startClient({
      initialSyncLimit: atOnce,
      lazyLoadMembers: true,
      threadSupport: true,
      ...(hearing === 'sliding sync' && { slidingSync: slidingSync(this.#baseUrl, client) }),
    } satisfies IStartClientOpts)
    await ready.promise
    return device
  }

  /** Makes cross-signing keys, a place for secrets and a backup of keys. */
  async setUp({ client }: EncryptedDevice): Promise<void> {
    const crypto = client.getCrypto()!
    const authUploadDeviceSigningKeys: UIAuthCallback<void> = async (makeRequest) => {
      try {
        return await makeRequest(null)
      } catch (error) {
        const { session } = (error as { data: { session: string } }).data
        return makeRequest({ ...this.#proof, session } as AuthDict)
      }
    }
    await crypto.bootstrapCrossSigning({ authUploadDeviceSigningKeys })
    await crypto.bootstrapSecretStorage({
      createSecretStorageKey: async () => {
        const key = await crypto.createRecoveryKeyFromPassphrase()
        this.#secret = key.privateKey as Uint8Array<ArrayBuffer>
        return key
      },
      setupNewSecretStorage: true,
      setupNewKeyBackup: true,
    })
  }

  get #proof() {
    return {
      type: 'm.login.password',
      identifier: { type: 'm.id.user', user: this.userId },
      password: this.#password,
    }
  }
}

/** One device of somebody. */
export class EncryptedDevice {
  readonly client: MatrixClient
  readonly #shown = new Set<MatrixEvent>()

  /** Of a client that has not started yet. */
  constructor(client: MatrixClient) {
    this.client = client
    client.on(RoomEvent.Timeline, (event) => this.#shown.add(event))
  }

  get userId(): string {
    return this.client.getUserId()!
  }

  get crypto(): CryptoApi {
    return this.client.getCrypto()!
  }

  get deviceId(): string {
    return this.client.getDeviceId()!
  }

  /** Verifies itself by the secrets, and takes over the keys of the backup. */
  async restore(): Promise<number> {
    await this.crypto.userHasCrossSigningKeys(this.userId, true)
    await this.crypto.bootstrapCrossSigning({})
    await this.crypto.loadSessionBackupPrivateKeyFromSecretStorage()
    return (await this.crypto.restoreKeyBackup()).imported
  }

  /** The room, which has to be there. */
  room(roomId: string): Room {
    const room = this.client.getRoom(roomId)
    if (!room) throw new Error(`${this.userId} knows nothing of ${roomId}`)
    return room
  }

  /** How many keys are in the backup. */
  async backedUp(): Promise<number> {
    const { count } = await this.client.http.authedRequest<{ count: number }>(
      Method.Get,
      '/room_keys/version',
    )
    return count
  }

  async say(roomId: string, body: string): Promise<string> {
    return (await this.client.sendTextMessage(roomId, body)).event_id
  }

  /** Reads a room back to its beginning, or to what this device has read before. */
  async readBack(roomId: string): Promise<void> {
    const timeline = this.room(roomId).getLiveTimeline()
    while (timeline.getPaginationToken(EventTimeline.BACKWARDS) !== null)
      await this.client.paginateEventTimeline(timeline, { backwards: true, limit: shown })
  }

  /** The texts of a room that this device can read, since there last was a gap. */
  texts(roomId: string): string[] {
    return textsOf(this.client.getRoom(roomId)?.getLiveTimeline().getEvents() ?? [])
  }

  /** The texts of a room that this device ever was shown, and can read. */
  heard(roomId: string): string[] {
    const byId = new Map<string, MatrixEvent>()
    for (const event of this.#shown)
      if (event.getRoomId() === roomId) byId.set(event.getId()!, event)
    return textsOf([...byId.values()])
  }

  /** The message of a room with a text. */
  withText(roomId: string, body: string): MatrixEvent | undefined {
    const events = this.room(roomId).getLiveTimeline().getEvents()
    return events.find((event) => event.getContent()['body'] === body)
  }

  /** The message with a text that the server has not taken. */
  unsent(body: string): MatrixEvent | undefined {
    return [...this.#shown].find(
      (event) => event.status === EventStatus.NOT_SENT && event.getContent()['body'] === body,
    )
  }

  async untilTexts(roomId: string, ...bodies: string[]): Promise<void> {
    await this.#untilAmong(() => this.texts(roomId), bodies)
  }

  async untilHeard(roomId: string, ...bodies: string[]): Promise<void> {
    await this.#untilAmong(() => this.heard(roomId), bodies)
  }

  async #untilAmong(texts: () => string[], bodies: string[]): Promise<void> {
    const lacking = () => {
      const there = new Set(texts())
      return bodies.filter((body) => !there.has(body))
    }
    try {
      await until(async () => {
        // A client decrypts what somebody looks at.
        for (const event of this.#shown) await this.client.decryptEventIfNeeded(event)
        return lacking().length === 0
      })
    } catch (error) {
      const unread = [...this.#shown].filter((event) => event.isDecryptionFailure())
      const why = unread.map((event) => `${event.getId()}: ${event.decryptionFailureReason}`)
      const lacks = `${this.userId} on ${this.deviceId} lacks ${lacking().join()}`
      throw new Error(`${lacks}; has ${texts().join()}; cannot read ${why.join()}`, {
        cause: error,
      })
    }
  }

  async untilMembership(roomId: string, userId: string, membership: string): Promise<void> {
    await until(() => this.client.getRoom(roomId)?.getMember(userId)?.membership === membership)
  }

  /** Whether somebody's device is signed by its owner, as this device sees it. */
  async isSigned(userId: string, deviceId: string): Promise<boolean> {
    const status = await this.crypto.getDeviceVerificationStatus(userId, deviceId)
    return status?.signedByOwner === true
  }

  /** Whether this device believes that a device is its owner's, whom it has verified. */
  async isVerified(userId: string, deviceId: string): Promise<boolean> {
    const status = await this.crypto.getDeviceVerificationStatus(userId, deviceId)
    return status?.crossSigningVerified === true
  }

  async hasVerified(userId: string): Promise<boolean> {
    const status = await this.crypto.getUserVerificationStatus(userId)
    return status.isCrossSigningVerified()
  }

  /** Whether a device is on the list that this one has of somebody. */
  async knows(userId: string, deviceId: string): Promise<boolean> {
    const lists = await this.crypto.getUserDeviceInfo([userId])
    return lists.get(userId)?.has(deviceId) === true
  }

  stop(): void {
    this.client.stopClient()
  }
}

import { silent } from './silent-log.ts'
import { createHmac } from 'node:crypto'
import {
  type AuthDict,
  ClientEvent,
  EventType,
  type MatrixClient,
  SyncState,
  type UIAuthCallback,
  createClient,
} from 'matrix-js-sdk'
import { until } from '../until.ts'

/** What somebody keeps in mind, beside their devices: a password and the key of their secrets. */
export class Account {
  readonly userId: string
  readonly #baseUrl: string
  readonly #password: string
  #secret: Uint8Array<ArrayBuffer> | undefined

  private constructor(baseUrl: string, userId: string, password: string) {
    this.#baseUrl = baseUrl
    this.userId = userId
    this.#password = password
  }

  static async register(baseUrl: string, name: string, secret: string): Promise<Account> {
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
    return new Account(baseUrl, userId, password)
  }

  /** A new device, with the Rust crypto of matrix-js-sdk, that has finished its first sync. */
  async logIn(): Promise<EncryptedDevice> {
    const login = await createClient({ baseUrl: this.#baseUrl, logger: silent }).loginRequest({
      type: 'm.login.password',
      identifier: { type: 'm.id.user', user: this.userId },
      password: this.#password,
    })
    const client = createClient({
      baseUrl: this.#baseUrl,
      userId: login.user_id,
      accessToken: login.access_token,
      deviceId: login.device_id,
      logger: silent,
      cryptoCallbacks: {
        getSecretStorageKey: async ({ keys }) => [Object.keys(keys)[0]!, this.#secret!],
      },
    })
    await client.initRustCrypto({ useIndexedDB: false })
    const ready = Promise.withResolvers<void>()
    client.on(ClientEvent.Sync, (state) => {
      if (state === SyncState.Prepared) ready.resolve()
    })
    await client.startClient({ initialSyncLimit: 50 })
    await ready.promise
    return new EncryptedDevice(client)
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

  constructor(client: MatrixClient) {
    this.client = client
  }

  get userId(): string {
    return this.client.getUserId()!
  }

  get deviceId(): string {
    return this.client.getDeviceId()!
  }

  /** Verifies itself by the secrets, and takes over the keys of the backup. */
  async restore(): Promise<number> {
    const crypto = this.client.getCrypto()!
    await crypto.userHasCrossSigningKeys(this.userId, true)
    await crypto.bootstrapCrossSigning({})
    await crypto.loadSessionBackupPrivateKeyFromSecretStorage()
    return (await crypto.restoreKeyBackup()).imported
  }

  async say(roomId: string, body: string): Promise<void> {
    await this.client.sendTextMessage(roomId, body)
  }

  /** The texts of a room that this device can read. */
  texts(roomId: string): string[] {
    const events = this.client.getRoom(roomId)?.getLiveTimeline().getEvents() ?? []
    return events
      .filter((event) => event.getType() === (EventType.RoomMessage as string))
      .map((event) => event.getContent()['body'] as string)
  }

  async untilTexts(roomId: string, ...bodies: string[]): Promise<void> {
    await until(() => bodies.every((body) => this.texts(roomId).includes(body)))
  }

  async untilMembership(roomId: string, userId: string, membership: string): Promise<void> {
    await until(() => this.client.getRoom(roomId)?.getMember(userId)?.membership === membership)
  }

  /** Whether somebody's device is signed by its owner, as this device sees it. */
  async isSigned(userId: string, deviceId: string): Promise<boolean> {
    const crypto = this.client.getCrypto()!
    const status = await crypto.getDeviceVerificationStatus(userId, deviceId)
    return status?.signedByOwner === true
  }

  stop(): void {
    this.client.stopClient()
  }
}

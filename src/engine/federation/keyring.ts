import { LRUCache } from 'lru-cache'
import { atMost } from '#core/at-most.ts'
import { parseJson } from '#core/canonical-json.ts'
import { RemoteError } from '#core/error.ts'
import { isServerName } from '#core/ids.ts'
import { isObject } from '#core/json.ts'
import type { KeyDocument, ServerKey } from '#core/server-keys.ts'
import { askNotary, askServer } from '#engine/federation/key-requests.ts'
import { type OwnKeys, ownKeyDocument } from '#engine/federation/own-keys.ts'
import { unlessAborted } from '#engine/federation/waiting.ts'
import type { Federation, KnownKey, WantedKey } from '#engine/worker/protocol.ts'
import type { Log } from '#src/log.ts'
import type { Pool } from '#store/db.ts'
import * as serverKeys from '#store/federation/server-keys.ts'

export type KeyringOptions = {
  serverName: string
  ownKeys: OwnKeys
  sql: Pool
  log: Log
  federation: Federation
  /** Servers that are asked for keys which the owner does not give. */
  notaries: readonly string[]
  clock: () => number
  /** How long one server may take to answer. */
  deadlineMs?: number
}

/** Not spec: how soon a server is asked again that has answered, and one that has not. */
const againMs = 5_000
const firstWaitMs = 400
const longestWaitMs = 600_000
/** Not spec: what is kept of a server that takes one key after the other. */
const maxFormer = 10
const maxFormerChars = 16 * 1024
const sevenDays = 7 * 24 * 60 * 60 * 1000

/** When a server may be asked again, and how often it failed in a row. */
type Asked = { again: number; failures: number }

/**
 * The keys of other servers: from memory, the database, their owner, or a notary. All who want a key
 * of a server share one request, and one that failed is not repeated for a while.
 *
 * Spec: server-server-api/#retrieving-server-keys
 */
export class Keyring {
  readonly #options: KeyringOptions
  readonly #known = new LRUCache<string, KnownKey>(atMost(50_000))
  readonly #asked = new LRUCache<string, Asked>(atMost(20_000))
  readonly #asking = new Map<string, Promise<void>>()

  readonly #own: Map<string, KnownKey>

  constructor(options: KeyringOptions) {
    this.#options = options
    const { serverName, ownKeys } = options
    const { current, old } = ownKeys
    const own = { server: serverName, keyId: current.keyId, key: current.publicKey }
    this.#own = new Map([[current.keyId, { ...own, validUntilTs: Number.MAX_SAFE_INTEGER }]])
    for (const { keyId, publicKey: key, expiredTs } of old)
      this.#own.set(keyId, { server: serverName, keyId, key, validUntilTs: expiredTs, expiredTs })
  }

  /** What can be had of these keys before the deadline. */
  async keys(wanted: readonly WantedKey[], deadlineMs: number): Promise<KnownKey[]> {
    await this.#load(wanted)
    const lacking = wanted.filter((each) => this.#lacks(each))
    if (lacking.length > 0) await this.#askAll(lacking, deadlineMs)
    return wanted.flatMap(({ server, keyIds }) =>
      keyIds.flatMap((keyId) => this.#find(server, keyId) ?? []),
    )
  }

  /**
   * The documents of servers, as they signed them, of those that can be had before the deadline: what
   * they say now, last, and what they said before of keys that are asked for and not in it.
   */
  async documents(wanted: readonly WantedKey[], deadlineMs: number): Promise<string[]> {
    const { serverName, ownKeys, clock } = this.#options
    const own = wanted.some(({ server }) => server === serverName)
      ? [JSON.stringify(ownKeyDocument(serverName, ownKeys, clock()))]
      : []
    const others = wanted.filter(({ server }) => server !== serverName)
    const before = await this.#stored(others)
    const lacking = others.filter(({ server, keyIds, minimumValidUntilTs }) => {
      const { row, former } = before.get(server)!
      if (!row || isStale(row, clock())) return true
      const isFormer = (keyId: string) => former.some(({ json }) => mentions(json, keyId))
      const isGood = row.valid_until_ts >= minimumValidUntilTs
      if (keyIds.length === 0) return !isGood
      return keyIds.some((keyId) => (mentions(row.json, keyId) ? !isGood : !isFormer(keyId)))
    })
    if (lacking.length > 0) await this.#askAll(lacking, deadlineMs)
    const after = lacking.length > 0 ? await this.#stored(others) : before
    const found = Array.from(after.values(), ({ row, former }) => [
      ...former,
      ...(row ? [row] : []),
    ])
    return [...own, ...found.flat().map(({ json }) => json)]
  }

  /** What the database has of servers; of what they said before, what names a key that the last does not. */
  async #stored(wanted: readonly WantedKey[]): Promise<Map<string, StoredDocuments>> {
    const { sql } = this.#options
    const names = wanted.map(({ server }) => server)
    const rows = new Map((await serverKeys.documents(sql, names)).map((row) => [row.server, row]))
    const gone = new Map(
      wanted.map(({ server, keyIds }) => {
        const json = rows.get(server)?.json ?? ''
        return [server, keyIds.filter((keyId) => !mentions(json, keyId))]
      }),
    )
    const askedFor = names.filter((server) => gone.get(server)!.length > 0)
    const former = askedFor.length > 0 ? await serverKeys.formerDocuments(sql, askedFor) : []
    return new Map(
      names.map((server) => {
        const keyIds = gone.get(server)!
        const own = former.filter(
          (each) => each.server === server && keyIds.some((keyId) => mentions(each.json, keyId)),
        )
        return [server, { row: rows.get(server), former: own }]
      }),
    )
  }

  #find(server: string, keyId: string): KnownKey | undefined {
    if (server === this.#options.serverName) return this.#own.get(keyId)
    return this.#known.get(`${server} ${keyId}`)
  }

  #lacks({ server, keyIds, minimumValidUntilTs }: WantedKey): boolean {
    if (server === this.#options.serverName) return false
    return keyIds.some((keyId) => {
      const key = this.#find(server, keyId)
      return !key || (key.expiredTs === undefined && key.validUntilTs < minimumValidUntilTs)
    })
  }

  /** Brings what the database has, and memory has not, into memory. */
  async #load(wanted: readonly WantedKey[]): Promise<void> {
    const missing = wanted.flatMap(({ server, keyIds }) => {
      const unknown = keyIds.filter((keyId) => !this.#find(server, keyId))
      return unknown.length > 0 && server !== this.#options.serverName
        ? [{ server, keyIds: unknown }]
        : []
    })
    if (missing.length === 0) return
    for (const row of await serverKeys.list(this.#options.sql, missing)) this.#keep(row)
  }

  #keep(row: serverKeys.ServerKeyRow): void {
    this.#known.set(`${row.server} ${row.key_id}`, {
      server: row.server,
      keyId: row.key_id,
      key: row.key,
      validUntilTs: row.valid_until_ts,
      ...(row.expired_ts !== null && { expiredTs: row.expired_ts }),
    })
  }

  async #askAll(lacking: readonly WantedKey[], deadlineMs: number): Promise<void> {
    const ended = new AbortController()
    const timer = setTimeout(() => ended.abort(new Error('The deadline is over')), deadlineMs)
    try {
      await unlessAborted(
        Promise.all(lacking.map((wanted) => this.#askShared(wanted))),
        ended.signal,
      )
    } catch (error) {
      // Those who wait get what is known by now; the requests go on for those who come later.
      if (!ended.signal.aborted) throw error
    } finally {
      clearTimeout(timer)
    }
  }

  #askShared(wanted: WantedKey): Promise<void> {
    const { server } = wanted
    const asking = this.#asking.get(server)
    if (asking) return asking
    const { clock } = this.#options
    if (!isServerName(server) || (this.#asked.get(server)?.again ?? 0) > clock())
      return Promise.resolve()
    const promise = this.#ask(wanted).finally(() => this.#asking.delete(server))
    this.#asking.set(server, promise)
    return promise
  }

  async #ask(wanted: WantedKey): Promise<void> {
    const { server } = wanted
    const { federation, clock, log, deadlineMs = 10_000 } = this.#options
    let answered = false
    try {
      await this.#store(await askServer(federation, server, deadlineMs))
      answered = true
    } catch (error) {
      if (!(error instanceof RemoteError)) throw error
      log.debug({ server, reason: error.message }, 'a server did not give its keys')
    }
    for (const notary of this.#options.notaries) {
      if (notary === server || !this.#lacks(wanted)) continue
      answered = (await this.#askNotary(notary, wanted)) || answered
    }
    const failures = answered ? 0 : (this.#asked.get(server)?.failures ?? 0) + 1
    const wait = answered ? againMs : Math.min(longestWaitMs, firstWaitMs * 2 ** (failures - 1))
    this.#asked.set(server, { again: clock() + wait, failures })
  }

  async #askNotary(notary: string, wanted: WantedKey): Promise<boolean> {
    const { federation, log, deadlineMs = 10_000 } = this.#options
    try {
      const own = await this.#notaryKeys(notary, deadlineMs)
      const documents = await askNotary(federation, notary, own, wanted, deadlineMs)
      for (const document of documents) await this.#store(document, true)
      return documents.length > 0
    } catch (error) {
      if (!(error instanceof RemoteError)) throw error
      log.debug({ notary, reason: error.message }, 'a notary did not give keys')
      return false
    }
  }

  /** A notary's own keys come from itself alone. */
  async #notaryKeys(notary: string, deadlineMs: number): Promise<ReadonlyMap<string, string>> {
    const { sql, federation, clock } = this.#options
    const rows = await serverKeys.list(sql, [{ server: notary, keyIds: [] }])
    const good = rows.filter((row) => row.expired_ts === null && row.valid_until_ts > clock())
    if (good.length > 0) return new Map(good.map((row) => [row.key_id, row.key]))
    const document = await askServer(federation, notary, deadlineMs)
    await this.#store(document)
    return new Map(
      [...document.keys]
        .filter(([, key]) => !key.old)
        .map(([keyId, key]) => [keyId, key.publicKey]),
    )
  }

  /** What a notary tells (`isHeard`) may be older than what the server has said itself. */
  async #store(document: KeyDocument, isHeard = false): Promise<void> {
    const { sql, clock } = this.#options
    const { serverName: server, keys, json, validUntilTs } = document
    const now = clock()
    const said = [...keys].map(([keyId, key]) => rowOf(server, keyId, key, now))
    const row = {
      server,
      json: JSON.stringify(json),
      valid_until_ts: validUntilTs,
      fetched_at: now,
    }
    const known = await sql.begin(async (transaction) => {
      const last = await serverKeys.lockDocument(transaction, server)
      const isNews = !isHeard || !last || validUntilTs > last.valid_until_ts
      // The older of the two, if it names a key that the other does not.
      const [older, newer] = isNews ? [last, row] : [row, last]
      if (older && namesMore(older.json, newer.json))
        await serverKeys.putFormer(transaction, older, maxFormer)
      await serverKeys.putDocument(transaction, row, isHeard)
      return isHeard ? serverKeys.putHeard(transaction, said) : serverKeys.put(transaction, said)
    })
    for (const each of known) this.#keep(each)
  }
}

/** What a server says of its keys counts for a week at most, so that it can take them back. */
const rowOf = (
  server: string,
  keyId: string,
  key: ServerKey,
  now: number,
): serverKeys.ServerKeyRow => ({
  server,
  key_id: keyId,
  key: key.publicKey,
  valid_until_ts: Math.min(key.validUntilTs, now + sevenDays),
  expired_ts: key.old ? key.validUntilTs : null,
})

/** What another server passes on is asked for again after half of its time. Spec: server-server-api/#publishing-keys */
const isStale = (row: serverKeys.KeyDocumentRow, now: number): boolean =>
  now >= row.fetched_at + Math.min(row.valid_until_ts - row.fetched_at, sevenDays) / 2

type StoredDocuments = {
  row: serverKeys.KeyDocumentRow | undefined
  former: serverKeys.FormerDocumentRow[]
}

const mentions = (json: string, keyId: string): boolean => json.includes(JSON.stringify(keyId))

/** Whether a document has a current key that another does not mention. */
function namesMore(json: string, other: string): boolean {
  if (json.length > maxFormerChars) return false
  const document = parseJson(json)
  const keys = isObject(document) ? document['verify_keys'] : undefined
  return isObject(keys) && Object.keys(keys).some((keyId) => !mentions(other, keyId))
}

/** A key as the checks of events and requests want it. */
export const serverKeyOf = ({ key, validUntilTs, expiredTs }: KnownKey): ServerKey => ({
  publicKey: key,
  validUntilTs: expiredTs ?? validUntilTs,
  old: expiredTs !== undefined,
})

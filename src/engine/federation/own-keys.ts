import { randomBytes } from 'node:crypto'
import type { JsonObject } from '#core/json.ts'
import { buildKeyDocument } from '#core/server-keys.ts'
import { makeSigningKey, SigningKey } from '#core/signing.ts'
import type { Pool, Sql } from '#store/db.ts'
import * as settings from '#store/settings.ts'
import * as signingKeys from '#store/federation/signing-keys.ts'

/** The keys of this server: the one that signs, and those it had. */
export type OwnKeys = {
  current: SigningKey
  old: readonly { keyId: string; publicKey: string; expiredTs: number }[]
}

/** Other servers ask again after this time; a retired key is forgotten that late. */
const documentIsValidMs = 24 * 60 * 60 * 1000

/** Reads the keys of this server; the first start makes one. */
export const loadOwnKeys = (pool: Pool, clock: () => number): Promise<OwnKeys> =>
  load(pool, clock, false)

/** The same at the start of a server: if another key was asked for, that signs from now on. */
export const startOwnKeys = (pool: Pool, clock: () => number): Promise<OwnKeys> =>
  load(pool, clock, true)

/** Asks for another key at the next start; the ID of the present one, if there is one. */
export function requestRotation(pool: Pool): Promise<string | undefined> {
  return pool.begin(async (sql) => {
    await signingKeys.lock(sql)
    const rows = await signingKeys.list(sql)
    const current = rows.find((row) => row.expired_ts === null)
    if (current) await settings.put(sql, rotationWish, current.key_id)
    return current?.key_id
  })
}

/** The name of the setting that holds the key which shall sign no more. */
const rotationWish = 'rotate_signing_key'

function load(pool: Pool, clock: () => number, isStart: boolean): Promise<OwnKeys> {
  return pool.begin(async (sql) => {
    await signingKeys.lock(sql)
    const rows = await signingKeys.list(sql)
    const current = rows.find((row) => row.expired_ts === null)
    const unwanted = isStart ? await settings.take(sql, rotationWish) : undefined
    if (current && current.key_id !== unwanted) return toOwnKeys(rows)
    await addKey(sql, makeSigningKey(randomBytes(32)), clock())
    return toOwnKeys(await signingKeys.list(sql))
  })
}

/** Adds a key that signs from now on, made anew unless one is given; the others are retired. */
export function rotateOwnKey(
  pool: Pool,
  clock: () => number,
  key: SigningKey = makeSigningKey(randomBytes(32)),
): Promise<OwnKeys> {
  return pool.begin(async (sql) => {
    await signingKeys.lock(sql)
    await addKey(sql, key, clock())
    return toOwnKeys(await signingKeys.list(sql))
  })
}

async function addKey(sql: Sql, key: SigningKey, now: number): Promise<void> {
  await signingKeys.add(sql, key.keyId, key.seed, now)
  await signingKeys.expireOthers(sql, key.keyId, now)
}

function toOwnKeys(rows: readonly signingKeys.SigningKeyRow[]): OwnKeys {
  const keys = rows.map((row) => ({ key: toKey(row), expiredTs: row.expired_ts }))
  const current = keys.find(({ expiredTs }) => expiredTs === null)
  if (!current) throw new Error('There is no signing key, although one was just made')
  return {
    current: current.key,
    old: keys.flatMap(({ key, expiredTs }) =>
      expiredTs === null ? [] : [{ keyId: key.keyId, publicKey: key.publicKey, expiredTs }],
    ),
  }
}

const toKey = ({ key_id: keyId, seed }: signingKeys.SigningKeyRow): SigningKey =>
  new SigningKey(keyId.slice(keyId.indexOf(':') + 1), seed)

/** What `GET /_matrix/key/v2/server` answers at a time. */
export const ownKeyDocument = (serverName: string, keys: OwnKeys, now: number): JsonObject =>
  buildKeyDocument(serverName, [keys.current], keys.old, now + documentIsValidMs)

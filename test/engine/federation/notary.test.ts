import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'bun:test'
import { randomBytes } from 'node:crypto'
import { parseJson } from '#core/canonical-json.ts'
import type { JsonObject } from '#core/json.ts'
import { buildKeyDocument, checkKeyDocument } from '#core/server-keys.ts'
import { makeSigningKey, type SigningKey } from '#core/signing.ts'
import type { FederationEngine } from '#engine/federation/engine.ts'
import { testDatabase } from '#test/database.ts'
import { patienceMs } from '#test/until.ts'
import { Authority, Peer, startEngine, testOptions } from './peers.ts'

const db = await testDatabase()
let authority: Authority
let peer: Peer
let engine: FederationEngine | undefined
let now = Date.now()
const day = 86_400_000

beforeAll(async () => {
  authority = await Authority.make()
  peer = new Peer('peer.test', '127.0.0.1', await authority.certify('peer.test'))
})
beforeEach(async () => {
  await engine?.stop()
  await db.pool`truncate server_keys, server_key_documents, former_key_documents, destinations`
  peer.seen.length = 0
  peer.answer = (request) => peer.usual(request)
  now = Date.now()
  await start()
})
afterAll(async () => {
  await engine?.stop()
  await peer.stop()
  await authority.remove()
})

const start = async () =>
  (engine = await startEngine(db.pool, testOptions('here.test', { peers: [peer], authority }), {
    clock: () => now,
  }))
const restart = async () => {
  await engine!.stop()
  return start()
}
const says = (document: JsonObject) => (peer.answer = () => Response.json(document))
const newKey = () => makeSigningKey(randomBytes(32))

describe('as a notary, this server', () => {
  const documents = (server: string, keyIds: string[] = [], minimumValidUntilTs = now) =>
    engine!.keyDocuments([{ server, keyIds, minimumValidUntilTs }], patienceMs)

  test('passes on what a server signed, asking it when that is not good enough any more', async () => {
    says(peer.keyDocument(now + day))
    const [first] = await documents('peer.test')
    expect(checkKeyDocument(parseJson(first!), 'peer.test')).toBeObject()
    await documents('peer.test')
    expect(peer.seen).toHaveLength(1)
    now += 2 * day
    says(peer.keyDocument(now + day))
    const [second] = await documents('peer.test')
    expect((parseJson(second!) as JsonObject)['valid_until_ts']).toBe(now + day)
  })

  test.each([
    ['half of its time', day, day / 2],
    ['half a week, however long it is good', 300 * day, 3.5 * day],
  ])('asks for a document again after %s', async (_name, good, after) => {
    says(peer.keyDocument(now + good))
    await documents('peer.test', [], 0)
    now += after - 1
    await documents('peer.test', [], 0)
    expect(peer.seen).toHaveLength(1)
    const next = newKey()
    says(buildKeyDocument('peer.test', [next], [], now + day))
    now += 1
    const [second] = await documents('peer.test', [], 0)
    expect(Object.keys((parseJson(second!) as JsonObject)['verify_keys']!)).toEqual([next.keyId])
    expect(peer.seen).toHaveLength(2)
  })

  test('answers for many servers at once, each with what can be had of it', async () => {
    says(peer.keyDocument(now + day))
    const wanted = ['here.test', 'peer.test', 'unknown.invalid'].map((server) => ({
      server,
      keyIds: [],
      minimumValidUntilTs: now,
    }))
    const names = (await engine!.keyDocuments(wanted, patienceMs)).map(
      (text) => (parseJson(text) as JsonObject)['server_name'],
    )
    expect(new Set(names)).toEqual(new Set(['here.test', 'peer.test']))
    expect(names).toHaveLength(2)
  })

  test('passes on what a server once said of a key that it names no more', async () => {
    const [first, second] = [newKey(), newKey()]
    const document = (key: SigningKey, good: number) =>
      buildKeyDocument('peer.test', [key], [], now + good)
    says(document(first, day))
    await documents('peer.test')
    now += 2 * day
    says(document(second, day))
    await documents('peer.test')
    const keyIds = (texts: string[]) =>
      texts.flatMap((text) => Object.keys((parseJson(text) as JsonObject)['verify_keys']!))
    expect(keyIds(await documents('peer.test'))).toEqual([second.keyId])
    expect(keyIds(await documents('peer.test', [second.keyId]))).toEqual([second.keyId])
    const seen = peer.seen.length
    const both = await documents('peer.test', [first.keyId, second.keyId])
    expect(keyIds(both)).toEqual([first.keyId, second.keyId])
    for (const text of both) expect(checkKeyDocument(parseJson(text), 'peer.test')).toBeObject()
    // It will not come back: its server is not asked for it each time.
    expect(peer.seen).toHaveLength(seen)
    expect(keyIds(await documents('peer.test', [newKey().keyId]))).toEqual([second.keyId])

    // After a restart, too, and no more than ten.
    for (let each = 0; each < 14; each++) {
      now += 2 * day
      says(document(newKey(), day))
      await documents('peer.test')
    }
    await restart()
    expect(await db.pool`select from former_key_documents`).toHaveLength(10)
    expect(await documents('peer.test', [first.keyId])).toHaveLength(1)
  })

  test('keeps nothing of what a server still names as an old key', async () => {
    const [first, second] = [newKey(), newKey()]
    says(buildKeyDocument('peer.test', [first], [], now + day))
    await documents('peer.test')
    now += 2 * day
    const old = [{ keyId: first.keyId, publicKey: first.publicKey, expiredTs: now - day }]
    says(buildKeyDocument('peer.test', [second], old, now + day))
    expect(await documents('peer.test', [first.keyId])).toHaveLength(1)
    expect(await db.pool`select from former_key_documents`).toHaveLength(0)
  })

  test('passes on what it has of a server that is gone, and nothing of one it never knew', async () => {
    says(peer.keyDocument(now + day))
    await documents('peer.test')
    now += 2 * day
    peer.answer = () => new Response('', { status: 503 })
    expect(await documents('peer.test')).toHaveLength(1)
    expect(await documents('unknown.invalid')).toEqual([])
  })

  test('has its own document too', async () => {
    const [own] = await documents('here.test')
    expect(checkKeyDocument(parseJson(own!), 'here.test')).toBeObject()
  })
})

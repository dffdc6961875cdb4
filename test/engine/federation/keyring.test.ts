import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'bun:test'
import { randomBytes } from 'node:crypto'
import { buildKeyDocument, checkKeyDocument } from '#core/server-keys.ts'
import { makeSigningKey, SigningKey, signJson } from '#core/signing.ts'
import { parseJson } from '#core/canonical-json.ts'
import type { JsonObject } from '#core/json.ts'
import type { FederationEngine } from '#engine/federation/engine.ts'
import { loadOwnKeys, ownKeyDocument, rotateOwnKey } from '#engine/federation/own-keys.ts'
import { testDatabase } from '#test/database.ts'
import { patienceMs } from '#test/until.ts'
import { Authority, Peer, startEngine, testOptions } from './peers.ts'

const db = await testDatabase()
let authority: Authority
let peer: Peer
let notary: Peer
let engine: FederationEngine | undefined
let now = Date.now()
const day = 86_400_000

beforeAll(async () => {
  authority = await Authority.make()
  peer = new Peer('peer.test', '127.0.0.1', await authority.certify('peer.test'))
  notary = new Peer('notary.test', '127.0.0.1', await authority.certify('notary.test'))
})
beforeEach(async () => {
  await engine?.stop()
  await db.pool`truncate server_keys, server_key_documents, former_key_documents, destinations, signing_keys`
  for (const each of [peer, notary]) {
    each.seen.length = 0
    each.answer = (request) => each.usual(request)
  }
  now = Date.now()
  await start()
})
afterAll(async () => {
  await engine?.stop()
  await Promise.all([peer.stop(), notary.stop()])
  await authority.remove()
})

const start = async (notaries: string[] = []) =>
  (engine = await startEngine(
    db.pool,
    testOptions('here.test', { peers: [peer, notary], authority }, { notaries }),
    { clock: () => now },
  ))
const restart = async (notaries: string[] = []) => {
  await engine!.stop()
  return start(notaries)
}

const wanted = (keyId: string, minimumValidUntilTs = 0, server = 'peer.test') => [
  { server, keyIds: [keyId], minimumValidUntilTs },
]
const find = (keyId: string, minimum = 0, deadlineMs = patienceMs) =>
  engine!.keys(wanted(keyId, minimum), deadlineMs)
const says = (document: JsonObject) => (peer.answer = () => Response.json(document))
const newKey = () => makeSigningKey(randomBytes(32))

describe('a key of another server', () => {
  test('comes from that server once, and then from memory, and then from the database', async () => {
    const [key] = await find(peer.key.keyId)
    expect(key).toEqual(
      expect.objectContaining({
        server: 'peer.test',
        keyId: peer.key.keyId,
        key: peer.key.publicKey,
      }),
    )
    await find(peer.key.keyId)
    await restart()
    expect(await find(peer.key.keyId)).toHaveLength(1)
    expect(peer.seen).toHaveLength(1)
  })

  test('is asked for once by all who want it at the same time', async () => {
    peer.answer = async (request) => {
      await Bun.sleep(20)
      return peer.usual(request)
    }
    const found = await Promise.all(Array.from({ length: 20 }, () => find(peer.key.keyId)))
    expect(found.every((keys) => keys.length === 1)).toBe(true)
    expect(peer.seen).toHaveLength(1)
  })

  test('is left out when the server is silent until the deadline, and there for those who come later', async () => {
    let release = () => {}
    const held = new Promise<void>((resolve) => (release = resolve))
    peer.answer = async (request) => {
      await held
      return peer.usual(request)
    }
    expect(await find(peer.key.keyId, 0, 50)).toEqual([])
    release()
    expect(await find(peer.key.keyId)).toHaveLength(1)
    expect(peer.seen).toHaveLength(1)
  })

  test('is good for a week at most, whatever the server says', async () => {
    says(peer.keyDocument(now + 365 * day))
    const [key] = await find(peer.key.keyId)
    expect(key!.validUntilTs).toBe(now + 7 * day)
  })

  test('is asked for again when it must be good for longer than it is known to be', async () => {
    says(peer.keyDocument(now + day))
    await find(peer.key.keyId)
    now += 2 * day
    says(peer.keyDocument(now + day))
    const [key] = await find(peer.key.keyId, now)
    expect(key!.validUntilTs).toBe(now + day)
    expect(peer.seen).toHaveLength(2)
  })

  test('is answered as it was when it must be good for longer and the server is gone', async () => {
    says(peer.keyDocument(now + day))
    await find(peer.key.keyId)
    now += 2 * day
    peer.answer = () => new Response('', { status: 500 })
    const [key] = await find(peer.key.keyId, now)
    expect(key!.validUntilTs).toBe(now - day)
  })

  test('that was replaced is known as an old one, with the time it expired', async () => {
    const before = peer.key
    await find(before.keyId)
    const after = newKey()
    const old = [{ keyId: before.keyId, publicKey: before.publicKey, expiredTs: now + 1 }]
    says(buildKeyDocument('peer.test', [after], old, now + day))
    now += 10_000
    expect(await find(after.keyId)).toHaveLength(1)
    const [key] = await find(before.keyId)
    expect(key!.expiredTs).toBe(now - 9_999)
    // An old key will not become better: nobody is asked for it.
    now += 60_000
    await find(before.keyId, now)
    expect(peer.seen).toHaveLength(2)
  })

  test('that the server does not have is not asked for again and again', async () => {
    for (const name of ['a', 'b', 'c']) expect(await find(`ed25519:${name}`)).toEqual([])
    expect(peer.seen).toHaveLength(1)
    now += 60_000
    await find('ed25519:d')
    expect(peer.seen).toHaveLength(2)
  })

  test('of a server that fails is not asked for again before its time, which grows', async () => {
    peer.answer = () => new Response('', { status: 503 })
    await find(peer.key.keyId)
    await find(peer.key.keyId)
    expect(peer.seen).toHaveLength(1)
    now += 500
    await find(peer.key.keyId)
    now += 500
    await find(peer.key.keyId)
    expect(peer.seen).toHaveLength(2)
    now += 500
    peer.answer = (request) => peer.usual(request)
    expect(await find(peer.key.keyId)).toHaveLength(1)
  })
})

describe('a key document is refused', () => {
  const refused = async (document: JsonObject, key: SigningKey = peer.key) => {
    says(document)
    expect(await find(key.keyId)).toEqual([])
    expect(peer.seen).toHaveLength(1)
  }
  test('when it is of another server', () =>
    refused(buildKeyDocument('evil.test', [peer.key], [], now + day)))
  test('when it is not signed by the keys in it', async () => {
    const other = newKey()
    const { signatures: _none, ...unsigned } = peer.keyDocument(now + day)
    await refused(signJson(unsigned, 'peer.test', other))
  })
  test('when it was changed after it was signed', () =>
    refused({ ...peer.keyDocument(now + day), valid_until_ts: now + 2 * day }))
  test('when its time is no time', () =>
    refused(signJson({ ...peer.keyDocument(), valid_until_ts: 'x' }, 'peer.test', peer.key)))
  test('when it is huge', () => refused({ ...peer.keyDocument(), x: 'x'.repeat(300_000) }))
})

describe('a notary', () => {
  const signedBy = (key: SigningKey, document: JsonObject) => signJson(document, 'notary.test', key)
  const passesOn = (documents: JsonObject[]) => {
    peer.answer = () => new Response('', { status: 503 })
    notary.answer = (request) =>
      request.uri === '/_matrix/key/v2/query'
        ? Response.json({ server_keys: documents })
        : notary.usual(request)
    return restart(['notary.test'])
  }

  test('is asked when the server does not answer', async () => {
    await passesOn([signedBy(notary.key, peer.keyDocument(now + day))])
    expect(await find(peer.key.keyId)).toHaveLength(1)
    const query = notary.seen.find(({ uri }) => uri === '/_matrix/key/v2/query')!
    expect(parseJson(query.body)).toEqual({
      server_keys: { 'peer.test': { [peer.key.keyId]: { minimum_valid_until_ts: 0 } } },
    })
  })

  test('is not believed without its own signature', async () => {
    await passesOn([peer.keyDocument(now + day)])
    expect(await find(peer.key.keyId)).toEqual([])
  })

  test('is not believed with the signature of another key', async () => {
    await passesOn([signedBy(newKey(), peer.keyDocument(now + day))])
    expect(await find(peer.key.keyId)).toEqual([])
  })

  test('is not believed without the signature of the server', async () => {
    const { signatures: _none, ...unsigned } = peer.keyDocument(now + day)
    await passesOn([signedBy(notary.key, unsigned)])
    expect(await find(peer.key.keyId)).toEqual([])
  })

  test('is asked for what was signed by a key that the server does not name any more', async () => {
    const before = newKey()
    const old = buildKeyDocument('peer.test', [before], [], now + day)
    await passesOn([signedBy(notary.key, old)])
    peer.answer = (request) => peer.usual(request)
    const at = now + 3_600_000
    const [key] = await find(before.keyId, at)
    expect(key).toMatchObject({ key: before.publicKey, validUntilTs: now + day })
    const query = notary.seen.find(({ uri }) => uri === '/_matrix/key/v2/query')!
    expect(parseJson(query.body)).toEqual({
      server_keys: { 'peer.test': { [before.keyId]: { minimum_valid_until_ts: at } } },
    })
    // What the server itself says now is not forgotten over what it once said.
    const [document] = await engine!.keyDocuments(
      [{ server: 'peer.test', keyIds: [], minimumValidUntilTs: 0 }],
      patienceMs,
    )
    expect(Object.keys((parseJson(document!) as JsonObject)['verify_keys']!)).toEqual([
      peer.key.keyId,
    ])
  })

  test('does not bring back to life what the server has replaced', async () => {
    const [stolen, unknown] = [newKey(), newKey()]
    const old = buildKeyDocument('peer.test', [stolen, unknown], [], now + 6 * day)
    await passesOn([signedBy(notary.key, old)])
    const expired = [{ keyId: stolen.keyId, publicKey: stolen.publicKey, expiredTs: now - day }]
    says(buildKeyDocument('peer.test', [peer.key], expired, now + day))
    expect((await find(stolen.keyId))[0]!.expiredTs).toBe(now - day)
    now += 60_000
    expect(await find(unknown.keyId)).toHaveLength(1)
    expect((await find(stolen.keyId))[0]!.expiredTs).toBe(now - 60_000 - day)
  })

  test('does not put another key in the place of one that the server gave', async () => {
    const imposter = new SigningKey(peer.key.keyId.split(':')[1]!, randomBytes(32))
    const unknown = newKey()
    const forged = buildKeyDocument('peer.test', [imposter, unknown], [], now + 6 * day)
    await passesOn([signedBy(notary.key, forged)])
    peer.answer = (request) => peer.usual(request)
    await find(peer.key.keyId)
    now += 60_000
    await find(unknown.keyId)
    expect((await find(peer.key.keyId))[0]!.key).toBe(peer.key.publicKey)
    await restart()
    expect((await find(peer.key.keyId))[0]!.key).toBe(peer.key.publicKey)
  })

  test('is not asked when the server answers', async () => {
    await passesOn([])
    peer.answer = (request) => peer.usual(request)
    expect(await find(peer.key.keyId)).toHaveLength(1)
    expect(notary.seen).toHaveLength(0)
  })
})

describe('our own key', () => {
  test('is made by the first start, and is the same ever after', async () => {
    const first = await loadOwnKeys(db.pool, () => now)
    const second = await loadOwnKeys(db.pool, () => now)
    expect(second.current.keyId).toBe(first.current.keyId)
    expect(second.current.publicKey).toBe(first.current.publicKey)
    expect(second.old).toEqual([])
  })

  test('is one, however many start at once', async () => {
    await db.pool`truncate signing_keys`
    const all = await Promise.all([1, 2, 3, 4].map(() => loadOwnKeys(db.pool, () => now)))
    expect(new Set(all.map(({ current }) => current.publicKey)).size).toBe(1)
  })

  test('that was replaced is served as an old one, and known for checking', async () => {
    const before = (await loadOwnKeys(db.pool, () => now)).current
    now += 1_000
    const keys = await rotateOwnKey(db.pool, () => now)
    expect(keys.current.keyId).not.toBe(before.keyId)
    const document = checkKeyDocument(ownKeyDocument('here.test', keys, now), 'here.test')
    expect(document).toBeObject()
    if (typeof document === 'string') return
    expect(document.keys.get(before.keyId)).toEqual({
      publicKey: before.publicKey,
      validUntilTs: now,
      old: true,
    })
    await restart()
    const [old] = await engine!.keys(wanted(before.keyId, 0, 'here.test'), patienceMs)
    expect(old!.expiredTs).toBe(now)
  })
})

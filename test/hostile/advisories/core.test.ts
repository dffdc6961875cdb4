import { describe, expect, test } from 'bun:test'
import { parseJson } from '#core/canonical-json.ts'
import { parsePdu } from '#core/event/check.ts'
import { parseEdu } from '#core/event/edu.ts'
import type { JsonObject } from '#core/json.ts'
import { ServerAcl } from '#core/server-acl.ts'
import {
  checkKeyDocument,
  buildKeyDocument,
  signsEvents,
  signsRequests,
} from '#core/server-keys.ts'
import { makeSigningKey, signJson } from '#core/signing.ts'
import { MadeUpRoom, MadeUpServer, versionOf } from '#test/builders.ts'
import { alice, bob, Stage, versions } from '#test/core/auth/stage.ts'

const evil = new MadeUpServer('evil.test')
const mallory = evil.user('mallory')
const now = 1_700_000_000_000

test('CVE-2026-24044: a key whose secret half everybody knows proves nothing', () => {
  const own = makeSigningKey(new Uint8Array(32).fill(7))
  const leaked = 'l/O9hxMVKB6Lg+3Hqf0FQQZhVESQcMzbPN1Cz2nM3og'
  for (const key of [leaked, `${leaked}=`]) {
    const { signatures: _, ...document } = buildKeyDocument('evil.test', [own], [], now)
    const keys = { ...(document['verify_keys'] as JsonObject), 'ed25519:leaked': { key } }
    const old = { 'ed25519:older': { key, expired_ts: now } }
    const signed = signJson(
      { ...document, verify_keys: keys, old_verify_keys: old },
      'evil.test',
      own,
    )
    const checked = checkKeyDocument(signed, 'evil.test')
    if (typeof checked === 'string') throw new Error(checked)
    expect([...checked.keys.keys()]).toEqual([own.keyId])
  }
})

test('CVE-2024-6299: an expired key signs no request, and no event of a later time', () => {
  const expired = { publicKey: '', validUntilTs: now, old: true }
  const overdue = { publicKey: '', validUntilTs: now, old: false }
  for (const key of [expired, overdue]) {
    expect(signsRequests(key, now + 1)).toBe(false)
    expect(signsEvents(key, versionOf('11'), now + 1, now + 2)).toBe(false)
    expect(signsEvents(key, versionOf('11'), now, now + 2)).toBe(true)
  }
  expect(signsEvents(expired, versionOf('1'), now + 1, now + 2)).toBe(false)
})

test('CVE-2024-6301: no kind of EDU speaks for users of another server', () => {
  const theirs = '@victim:victim.test'
  const kinds: JsonObject[] = [
    { edu_type: 'm.typing', content: { room_id: '!a:b.test', user_id: theirs, typing: true } },
    {
      edu_type: 'm.direct_to_device',
      content: { sender: theirs, type: 'm.x', message_id: '1', messages: { '@a:us.test': {} } },
    },
    {
      edu_type: 'm.device_list_update',
      content: { user_id: theirs, device_id: 'D', stream_id: 1, prev_id: [] },
    },
    { edu_type: 'm.signing_key_update', content: { user_id: theirs } },
  ]
  for (const edu of kinds) expect(parseEdu(edu, 'evil.test')).toBeString()
  const mixed = {
    edu_type: 'm.presence',
    content: {
      push: [theirs, mallory].map((user_id) => ({ user_id, presence: 'online' })),
    },
  }
  expect(parseEdu(mixed, 'evil.test')).toMatchObject({ updates: [{ userId: mallory }] })
  const read = { event_ids: ['$a'], data: { ts: 1 } }
  const receipts = {
    edu_type: 'm.receipt',
    content: { '!a:b.test': { 'm.read': { [theirs]: read, [mallory]: read } } },
  }
  expect(parseEdu(receipts, 'evil.test')).toMatchObject({ receipts: [{ userId: mallory }] })
})

test('CVE-2020-26890: NaN and infinities are no JSON, and no event', () => {
  for (const text of ['NaN', 'Infinity', '-Infinity', '1e999'])
    for (const version of ['6', '12']) {
      const room = MadeUpRoom.create(version, mallory, evil)
      const { text: good } = room.make(mallory, 'm.room.member', { x: 1 }, { stateKey: mallory })
      const json = parseJson(good.replace('"x":1', `"x":${text}`))
      if (json === undefined) continue
      expect(parsePdu(room.version, json)).toHaveProperty('refused')
    }
  expect(parseJson('{"x":NaN}')).toBeUndefined()
  expect(parseJson('{"x":-Infinity}')).toBeUndefined()
})

test('CVE-2023-45129: an access list of patterns that back-track is judged all the same', () => {
  const patterns = Array.from({ length: 1_000 }, (_, i) => `${'*a'.repeat(100)}*${i}*b`)
  const acl = new ServerAcl({ allow: ['*'], deny: patterns })
  const host = `${'a'.repeat(220)}.test`
  expect(acl.allows(host)).toBe(true)
  expect(acl.allows(`${'a'.repeat(200)}7b`)).toBe(false)
})

test('continuwuity 0.5.4: an access list does not depend on the case of names', () => {
  const acl = new ServerAcl({ allow: ['*'], deny: ['Evil.TEST', '*.Worse.test'] })
  expect(acl.allows('evil.test')).toBe(false)
  expect(acl.allows('EVIL.test')).toBe(false)
  expect(acl.allows('x.worse.TEST')).toBe(false)
})

describe.each(versions)('in room version $id', (version) => {
  const topic = { type: 'm.room.topic', stateKey: '', content: {} }

  test('CVE-2018-12423: without power levels only the creator changes the state', () => {
    const stage = new Stage(version).join(alice)
    expect(stage.verdict({ ...topic, sender: alice })).toMatchObject({ allowed: false })
  })

  test('CVE-2022-36009: events_default counts', () => {
    const message = { type: 'm.room.message', content: {}, sender: bob }
    const stage = new Stage(version).join(bob).levels({ events_default: 10, users: { [bob]: 9 } })
    expect(stage.verdict(message)).toMatchObject({ allowed: false })
    stage.levels({ events_default: 10, users: { [bob]: 10 } })
    expect(stage.verdict(message)).toMatchObject({ allowed: true })
  })

  test('CVE-2025-54315: a second create event is none, whoever sends it', () => {
    const stage = new Stage(version)
    const again = { type: 'm.room.create', stateKey: '', content: {}, sender: alice }
    expect(stage.verdict({ ...again, prevEvents: [stage.create.eventId] })).toMatchObject({
      allowed: false,
    })
    if (!version.createEventIsRoomId) return
    // The room is its create event: another one makes another room.
    const other = new Stage(version, { other: 'room' })
    expect(other.create.roomId).not.toBe(stage.create.roomId)
  })
})

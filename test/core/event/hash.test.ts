import { describe, expect, test } from 'bun:test'
import { decodeBase64 } from '#core/base64.ts'
import { parseJson } from '#core/canonical-json.ts'
import { signEvent } from '#core/event/build.ts'
import { contentHash, eventIdOf, referenceHash } from '#core/event/hash.ts'
import type { JsonObject } from '#core/json.ts'
import { SigningKey } from '#core/signing.ts'
import { message, seal, version, versions } from './fixtures.ts'

const domain = {
  serverName: 'domain',
  key: new SigningKey('1', decodeBase64('YJDBA9Xnr2sVqXD9Vj7XVUnmFZcZrlw8Md7kMW+3XA1')!),
}

describe('the vectors of the spec', () => {
  test('an event of minimal size', () => {
    const event = {
      room_id: '!x:domain',
      sender: '@a:domain',
      origin: 'domain',
      origin_server_ts: 1000000,
      signatures: {},
      hashes: {},
      type: 'X',
      content: {},
      prev_events: [],
      auth_events: [],
      depth: 3,
      unsigned: { age_ts: 1000000 },
    }
    const sha256 = contentHash(version('1'), event)!
    expect(sha256).toBe('5jM4wQpv6lnBo7CLIghJuHdW+s2CMBJPUOGOC89ncos')
    expect(signEvent(version('1'), { ...event, hashes: { sha256 } }, domain)).toEqual({
      ...event,
      hashes: { sha256 },
      signatures: {
        domain: {
          'ed25519:1':
            'KxwGjPSDEtvnFgU00fwFz+l6d2pJM6XBIaMEn81SXPTRl16AqLAYqfIReFGZlHi5KLjAWbOoMszkwsQma+lYAg',
        },
      },
    })
  })

  test('an event with content that redaction drops', () => {
    const event = {
      content: { body: 'Here is the message content' },
      event_id: '$0:domain',
      origin: 'domain',
      origin_server_ts: 1000000,
      type: 'm.room.message',
      room_id: '!r:domain',
      sender: '@u:domain',
      signatures: {},
      unsigned: { age_ts: 1000000 },
    }
    const sha256 = contentHash(version('1'), event)!
    expect(sha256).toBe('onLKD1bGljeBWQhWZ1kaP9SorVmRQNdN5aM2JYU2n/g')
    expect(signEvent(version('1'), { ...event, hashes: { sha256 } }, domain)).toMatchObject({
      signatures: {
        domain: {
          'ed25519:1':
            'Wm+VzmOUOz08Ds+0NTWb1d4CZrVsJSikkeRxh6aCcUwu6pNC78FunoD7KNWzqFn241eYHYMGCA5McEiVPdhzBA',
        },
      },
    })
  })
})

test('an event ID is given in v1 and v2, and a hash of the version’s alphabet since', () => {
  for (const of of versions) {
    // Until the two alphabets differ.
    const many = Array.from({ length: 40 }, (_, depth) =>
      eventIdOf(of, seal(of, message(of, { depth }))),
    )
    const all = many.join('')
    if (of.eventFormat === 'named') expect(new Set(many)).toEqual(new Set(['$message:hs1']))
    else {
      expect(new Set(many).size).toBe(40)
      expect(many.every((id) => id!.length === 44)).toBe(true)
      expect(/[+/]/.test(all)).toBe(of.eventIdBase64 === 'standard')
      expect(/[-_]/.test(all)).toBe(of.eventIdBase64 === 'url')
    }
  }
})

test('the reference hash covers what redaction keeps and the content hash, no signature', () => {
  for (const of of versions) {
    const event = seal(of, message(of))
    const id = referenceHash(of, event)
    expect(referenceHash(of, { ...event, signatures: {} })).toBe(id)
    expect(referenceHash(of, { ...event, unsigned: { age: 1 } })).toBe(id)
    expect(referenceHash(of, { ...event, content: {} })).toBe(id)
    expect(referenceHash(of, { ...event, unknown: 1 })).toBe(id)
    for (const change of [{ hashes: { sha256: 'x' } }, { depth: 6 }, { sender: '@b:hs1' }])
      expect(referenceHash(of, { ...event, ...change })).not.toBe(id)
    // v11+: `origin` is no longer among them.
    expect(referenceHash(of, { ...event, origin: 'x' }) === id).toBe(of.redactionV11)
  }
})

test('the content hash covers everything else too, unknown keys among it', () => {
  for (const of of versions) {
    const event = seal(of, message(of))
    const hash = contentHash(of, event)
    for (const same of [{ signatures: {} }, { unsigned: {} }, { hashes: {} }])
      expect(contentHash(of, { ...event, ...same })).toBe(hash)
    for (const other of [{ content: {} }, { unknown: 1 }, { origin: 'x' }, { depth: 6 }])
      expect(contentHash(of, { ...event, ...other })).not.toBe(hash)
  }
})

test('a key named __proto__ is hashed like any other', () => {
  const text = '{"content":{},"type":"m","__proto__":{"a":1}}'
  const hash = contentHash(version('11'), parseJson(text) as JsonObject)
  expect(hash).not.toBe(contentHash(version('11'), { content: {}, type: 'm' }))
  const inContent = (value: number) =>
    contentHash(version('11'), parseJson(`{"content":{"__proto__":${value}}}`) as JsonObject)
  expect(inContent(1)).not.toBe(inContent(2))
})

test('floats have a hash in v1–v5 only, and it is that of their digits', () => {
  for (const of of versions) {
    const hash = (digits: string) =>
      contentHash(of, parseJson(`{"content":{"a":${digits}}}`) as JsonObject)
    if (of.strictCanonicalJson) expect(hash('1.50')).toBeUndefined()
    else expect(hash('1.50')).not.toBe(hash('1.5')!)
  }
})

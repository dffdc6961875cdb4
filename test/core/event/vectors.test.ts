import { expect, test } from 'bun:test'
import { canonicalJson, parseJson } from '#core/canonical-json.ts'
import { contentHash } from '#core/event/hash.ts'
import type { JsonObject } from '#core/json.ts'
import { roomVersions } from '#core/room-version.ts'

const v1 = roomVersions.get('1')!

test('the content hashes of the spec come out', () => {
  const minimal = {
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
  expect(contentHash(v1, minimal)).toBe('5jM4wQpv6lnBo7CLIghJuHdW+s2CMBJPUOGOC89ncos')
  const redactable = {
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
  expect(contentHash(v1, redactable)).toBe('onLKD1bGljeBWQhWZ1kaP9SorVmRQNdN5aM2JYU2n/g')
})

test('a parsed object is written canonically', () => {
  const value = parseJson('{ "b": "2", "a": "1" }') as JsonObject
  expect(canonicalJson(value)).toBe('{"a":"1","b":"2"}')
})

import { describe, expect, test } from 'bun:test'
import type { Json, JsonObject } from '#core/json.ts'
import { signJson, SigningKey } from '#core/signing.ts'
import { alice, bob, carol, creator, Stage, versions } from './stage.ts'

const key = new SigningKey('0', new Uint8Array(32).fill(1))
const otherKey = new SigningKey('1', new Uint8Array(32).fill(2))
const signed = signJson({ mxid: carol, token: 'token' }, 'id.example', key) as JsonObject

describe.each(versions)('redeeming a third-party invite in version $id', (version) => {
  const room = (content: JsonObject = { public_key: key.publicKey }) =>
    new Stage(version).join(alice, bob).set('m.room.third_party_invite', content, 'token', alice)
  const redeem = (stage: Stage, invite: Json, sender = alice, target = carol) =>
    stage.try(sender, target, 'invite', { third_party_invite: invite })

  test('takes a signature of its key', () => {
    expect(redeem(room(), { signed })).toBe('allow')
    expect(redeem(room({ public_keys: [{ public_key: key.publicKey }] }), { signed })).toBe('allow')
    const both = { public_key: otherKey.publicKey, public_keys: [{ public_key: key.publicKey }] }
    expect(redeem(room(both), { signed })).toBe('allow')
  })

  test('needs nothing else of the sender, who may have left', () => {
    const stage = room().member(alice, 'leave').levels({ invite: 100 })
    expect(redeem(stage, { signed })).toBe('allow')
  })

  test('refuses who is banned', () => {
    expect(redeem(room().member(carol, 'ban'), { signed })).toBe('The invitee is banned')
  })

  test.each<[Json]>([[null], [5], [{}], [[]], [{ signed: null }], [{ signed: [] }]])(
    'refuses what is not signed: %j',
    (invite) => {
      expect(redeem(room(), invite)).toBe('The third-party invite is not signed')
    },
  )

  test.each<[JsonObject]>([
    [{ mxid: carol }],
    [{ token: 'token' }],
    [{ mxid: 5, token: 'token' }],
    [{ mxid: carol, token: {} }],
  ])('refuses what lacks mxid or token: %j', (bad) => {
    expect(redeem(room(), { signed: bad })).toBe('The third-party invite lacks its mxid or token')
  })

  test('refuses what is for another user, token or sender', () => {
    expect(redeem(room(), { signed }, alice, '@dave:d.example')).toBe(
      'The third-party invite is for another user',
    )
    const none = new Stage(version).join(alice)
    expect(redeem(none, { signed })).toBe('The room has no such third-party invite')
    expect(redeem(room(), { signed }, bob)).toBe('Another user sent the third-party invite')
  })

  test.each<[Json]>([
    [undefined as unknown as Json],
    [{}],
    ['x'],
    [{ 'id.example': {} }],
    [{ 'id.example': { 'ed25519:0': 'AAAA' } }],
    [{ 'id.example': { 'ed25519:0': 5 } }],
  ])('refuses the signatures %j', (signatures) => {
    const bad = { mxid: carol, token: 'token', ...(signatures === undefined ? {} : { signatures }) }
    expect(redeem(room(), { signed: bad })).toBe('No key of the third-party invite has signed it')
  })

  test.each<[JsonObject]>([
    [{}],
    [{ public_key: otherKey.publicKey }],
    [{ public_key: 5 }],
    [{ public_key: 'not base64!' }],
    [{ public_keys: key.publicKey }],
    [{ public_keys: [key.publicKey, null, {}] }],
  ])('refuses where the keys are %j', (content) => {
    expect(redeem(room(content), { signed })).toBe('No key of the third-party invite has signed it')
  })

  test('refuses what was changed after it was signed', () => {
    expect(redeem(room(), { signed: { ...signed, extra: 1 } })).toBe(
      'No key of the third-party invite has signed it',
    )
  })
})

describe.each(versions)('sending a third-party invite in version $id', (version) => {
  test('takes the invite level, whatever the level of its type', () => {
    const send = (levels: JsonObject) =>
      new Stage(version)
        .join(alice)
        .levels(levels)
        .judge({ type: 'm.room.third_party_invite', stateKey: 'x', sender: alice })
    expect(send({ state_default: 100 })).toBe('allow')
    expect(send({ invite: 1 })).toBe("The sender's power is too low to invite")
    expect(send({ invite: 1, events: { 'm.room.third_party_invite': 0 } })).not.toBe('allow')
  })

  test('takes a member', () => {
    const room = new Stage(version).member(alice, 'invite')
    expect(room.judge({ type: 'm.room.third_party_invite', stateKey: 'x', sender: alice })).toBe(
      'The sender is not in the room',
    )
    expect(room.judge({ type: 'm.room.third_party_invite', stateKey: 'x', sender: creator })).toBe(
      'allow',
    )
  })
})

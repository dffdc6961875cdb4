import { describe, expect, test } from 'bun:test'
import type { FederationThread } from '#engine/federation/thread.ts'
import { until } from '#test/until.ts'
import { type Person, twoHomes } from './two-homes.ts'

const [here, there] = await twoHomes()
const [alice, bob] = [await here.person('alice'), await there.person('bob')]
const carol = await there.person('carol')
const enc = encodeURIComponent
const roomId = (await alice.do('POST', 'createRoom', { preset: 'public_chat' })).room_id as string
await bob.do('POST', `join/${enc(roomId)}?via=here.test`, {})
await until(async () => (await alice.membershipOf(roomId, bob.userId)) === 'join')

const put = (who: Person, presence: string, message?: string) =>
  who.do('PUT', `presence/${enc(who.userId)}/status`, {
    presence,
    ...(message && { status_msg: message }),
  })
const get = (who: Person, userId: string) => who.ask('GET', `presence/${enc(userId)}/status`)

describe('presence', () => {
  test('is seen on another server, with its message, and its end too', async () => {
    const { next_batch: since } = await bob.do('GET', 'sync?timeout=0&set_presence=offline')
    await put(alice, 'online', 'Update for room members')
    await until(async () => (await get(bob, alice.userId)).body.presence === 'online')
    const path = `sync?timeout=0&set_presence=offline&since=${since}`
    const events = async () => ((await bob.do('GET', path)).presence?.events ?? []) as object[]
    await until(async () => (await events()).length > 0)
    expect(await events()).toMatchObject([
      {
        type: 'm.presence',
        sender: alice.userId,
        content: {
          presence: 'online',
          status_msg: 'Update for room members',
          currently_active: true,
        },
      },
    ])
    await put(alice, 'unavailable')
    await until(async () => (await get(bob, alice.userId)).body.presence === 'unavailable')
    await put(alice, 'offline')
    await until(async () => (await get(bob, alice.userId)).body.presence === 'offline')
  })

  test('is told to a server whose room a user joins', async () => {
    const dave = await here.person('dave')
    await put(dave, 'online', 'new here')
    const { room_id: other } = await bob.do('POST', 'createRoom', { preset: 'public_chat' })
    await dave.do('POST', `join/${enc(other as string)}?via=there.test`, {})
    await dave.do('GET', 'sync?timeout=0')
    await until(async () => (await get(bob, dave.userId)).body.status_msg === 'new here')
  })

  test('of whom nobody shares a room with is neither told nor taken', async () => {
    const erin = await here.person('erin')
    await put(erin, 'online')
    await put(alice, 'online', 'after erin')
    await until(async () => (await get(bob, alice.userId)).body.status_msg === 'after erin')
    const known = there.context.presence!
    expect(known.log.find(erin.userId)).toBeUndefined()
    expect((await get(bob, erin.userId)).status).toBe(403)
    expect((await get(carol, alice.userId)).status).toBe(403)
  })

  test('is taken from their own server only, and in bounds', async () => {
    const known = there.context.presence!
    const update = (userId: string, more: object = {}) => ({
      user_id: userId,
      presence: 'online',
      last_active_ago: 0,
      ...more,
    })
    const before = known.log.size
    const push = [
      update(bob.userId, { status_msg: 'a lie' }),
      update('@mallory:elsewhere.test'),
      update('not a user'),
      update(alice.userId, { presence: 'dancing' }),
      ...Array.from({ length: 3_000 }, (_, index) => update(`@u${index}:here.test`)),
      null,
      7,
    ]
    const send = (content: object) =>
      (here.context.federation as FederationThread).signal({
        s: 'edu',
        servers: ['there.test'],
        key: crypto.randomUUID(),
        edu: JSON.stringify({ edu_type: 'm.presence', content }),
      })
    send({ push: 'everybody' })
    send({ push })
    send({ push: [update(alice.userId, { status_msg: 'y'.repeat(20_000), presence: 'online' })] })
    await until(async () => ((await get(bob, alice.userId)).body.status_msg ?? '').startsWith('yy'))
    await known.settled()
    expect((await get(bob, alice.userId)).body.status_msg).toHaveLength(1_024)
    expect((await get(bob, bob.userId)).body.status_msg).toBeUndefined()
    expect(known.log.size).toBe(before)
  })

  test('is told as it was after a restart, until who does not come back is gone', async () => {
    await put(alice, 'online', 'before')
    await until(async () => (await get(bob, alice.userId)).body.status_msg === 'before')
    const { next_batch: since } = await bob.do('GET', 'sync?timeout=0&set_presence=offline')
    await there.stop()
    await there.start()
    await until(() => (there.context.presence!.log.find(alice.userId)?.at ?? 0) > 0)
    const path = `sync?timeout=0&set_presence=offline&since=${since}`
    const { presence } = await bob.do('GET', path)
    const told = presence.events as { sender: string }[]
    expect(told.filter(({ sender }) => sender === alice.userId)).toMatchObject([
      { content: { presence: 'online', status_msg: 'before' } },
    ])
  })
})

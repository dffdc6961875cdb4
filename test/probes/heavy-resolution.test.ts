import { afterAll, expect, test } from 'bun:test'
import type { RoomEvent } from '#core/event/pdu.ts'
import type { RoomPool } from '#engine/worker/pool.ts'
import { until } from '#test/until.ts'
import type { PeerRoom } from '#test/peer.ts'
import { Home } from './home.ts'

/**
 * A resolution that is heavy by itself. One branch of a room gives nearly two thousand users a level,
 * the other changes the power levels again and again. The first is older and wins: then each of the
 * other's changes must be held against it, and would take away every one of those levels.
 */
const users = 1_800
const changes = 2_500

const home = await Home.open('peer.test')
afterAll(() => home.remove())

const resolutions = async () => {
  const counters = await (home.server.context.rooms as RoomPool).counters()
  return { begun: counters.get('resolutions')!, tookMs: counters.get('resolutionMs')! }
}

test('while a heavy resolution runs in one room, others of its worker go on, and so does everybody else', async () => {
  const [peer] = home.peers
  const bob = peer!.user('bob')
  const alice = await home.server.person('alice')
  await home.server.context.accounts.register({ name: 'carol', password: 'a long password' })
  const [forked, quiet] = [await home.room(alice), await home.room(alice)]
  await home.joined(peer!, forked, 'bob')
  const admins = { [alice.userId]: 100, [bob]: 100 }
  const change = (room: PeerRoom, more: Record<string, number>) =>
    room.next(bob, 'm.room.power_levels', { users: { ...admins, ...more } }, { stateKey: '' })
  const levels = `rooms/${encodeURIComponent(forked)}/state/m.room.power_levels`
  await alice.do('PUT', levels, { users: admins })
  const trunk = await home.joined(peer!, forked, 'bob')
  const many = Array.from({ length: users }, (_, n) => [`@user${n}:b.test`, 50] as const)
  // The last is an administrator, whose level nobody may take away.
  const short = change(trunk.copy(), { ...Object.fromEntries(many), '@zoe:b.test': 100 })
  const others = await home.joined(peer!, quiet, 'bob')

  // The long branch comes first: as long as nothing else is there, nothing is to be resolved.
  for (let n = 0; n < changes;) {
    const some: RoomEvent[] = []
    for (; some.length < 50; n++) some.push(change(trunk, { '@user:b.test': n % 50 }))
    // Making them keeps this thread busy, and a server that is busy tells others to wait.
    await until(async () => (await home.send(peer!, some)).status === 200)
  }
  const { tip } = trunk
  await until(async () => (await home.stored(tip)) !== undefined)
  const before = await resolutions()

  expect((await home.send(peer!, [short])).status).toBe(200)
  await until(async () => (await resolutions()).begun > before.begun)

  // Of another room of the same worker: an event of another server, and one of ours.
  const said = others.say(bob, 'next door')
  expect((await home.send(peer!, [said])).status).toBe(200)
  await alice.say(quiet, 'next door, too')
  await until(async () => (await home.stored(said)) !== undefined)
  // In its own room, local users do not wait for it.
  await alice.say(forked, 'in here, too')
  // On the main thread.
  const url = `http://127.0.0.1:${home.server.clientPort}/_matrix/client`
  expect((await fetch(`${url}/versions`)).status).toBe(200)
  const identifier = { type: 'm.id.user', user: 'carol' }
  const login = { type: 'm.login.password', identifier, password: 'a long password' }
  const answer = await fetch(`${url}/v3/login`, { method: 'POST', body: JSON.stringify(login) })
  expect([answer.status, await answer.json()]).toMatchObject([200, { user_id: '@carol:home.test' }])

  // All that came while it ran: it has not come to its end, and what caused it is not yet there.
  const during = await resolutions()
  const landed = await home.stored(short)
  expect([during.tookMs, landed]).toEqual([before.tookMs, undefined])
  await until(async () => (await home.stored(short)) !== undefined)
  expect(await home.stored(short)).toMatchObject({ flags: 0 })
  expect((await resolutions()).begun).toBe(before.begun + 1)
  // The older branch has won, whole.
  const { users: now } = await alice.do('GET', levels)
  expect(Object.keys(now)).toHaveLength(users + 3)
  expect(now['@user:b.test']).toBeUndefined()
}, 900_000)

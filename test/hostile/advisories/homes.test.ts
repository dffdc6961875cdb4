import { gzipSync } from 'node:zlib'
import { expect, test } from 'bun:test'
import { type Person, twoHomes } from '#test/api/server-server/two-homes.ts'
import { Device } from '#test/device.ts'
import { until } from '#test/until.ts'

/** What takes a whole server to be tried, or two. */

const homes = await twoHomes()
const alice = await homes[0].person('alice')
const bob = await homes[0].person('bob')
const mallory = await homes[0].person('mallory')
/** A user of the other server. */
const carol = await homes[1].person('carol')

const enc = encodeURIComponent

async function roomOf(...others: Person[]): Promise<string> {
  const invite = others.map(({ userId }) => userId)
  const { room_id: roomId } = (await alice.do('POST', 'createRoom', {
    preset: 'private_chat',
    invite,
  })) as { room_id: string }
  for (const each of others)
    await until(async () => (await each.ask('POST', `join/${enc(roomId)}`, {})).status === 200)
  return roomId
}

test('CVE-2023-42453: nobody has read what is in a room that they are not in', async () => {
  const roomId = await roomOf(bob)
  const eventId = await alice.say(roomId, 'secret')
  const read = `rooms/${enc(roomId)}/receipt/m.read/${enc(eventId)}`
  await bob.do('POST', read, {})
  expect([403, 404]).toContain((await mallory.ask('POST', read, {})).status)
  const markers = { 'm.fully_read': eventId, 'm.read': eventId }
  const { status } = await mallory.ask('POST', `rooms/${enc(roomId)}/read_markers`, markers)
  expect([403, 404]).toContain(status)
  const sync = JSON.stringify(await alice.do('GET', 'sync'))
  expect(sync).toContain(bob.userId)
  expect(sync).not.toContain(mallory.userId)
})

test('CVE-2024-53867, continuwuity SEC10: whoever is removed from a room hears no more of it', async () => {
  const roomId = await roomOf(bob)
  await alice.say(roomId, 'secret')
  const wish = { required_state: [['*', '*']], timeline_limit: 10 }
  const body = JSON.stringify({
    lists: { all: { ranges: [[0, 10]], ...wish } },
    room_subscriptions: { [roomId]: wish },
  })
  const sliding = async (person: Person, pos = '') => {
    const path = '/_matrix/client/unstable/org.matrix.simplified_msc3575/sync'
    const answer = await person.fetch(`${path}?timeout=0${pos && `&pos=${pos}`}`, {
      method: 'POST',
      body,
    })
    expect(answer.status).toBe(200)
    return answer.text()
  }
  const before = await sliding(bob)
  expect(before).toContain('secret')
  await alice.do('POST', `rooms/${enc(roomId)}/kick`, { user_id: bob.userId })
  await alice.do('PUT', `rooms/${enc(roomId)}/state/m.room.topic`, { topic: 'behind his back' })
  await alice.say(roomId, 'behind his back')
  let text = before
  for (let each = 0; each < 3; each++) {
    text = await sliding(bob, (JSON.parse(text) as { pos: string }).pos)
    expect(text).not.toContain('behind his back')
  }
  expect(await sliding(bob)).not.toContain('behind his back')
  // Nor who was never there, by asking for it.
  expect(await sliding(mallory)).not.toContain('secret')
})

test('CVE-2025-61672: nothing that a user uploads or sends stops what goes to another server', async () => {
  const roomId = await roomOf(mallory, carol)
  const odd = [1.5, 2 ** 60, '\ud800', { '\udfff': 1 }, '\u0000', 'x'.repeat(60_000)]
  for (const [index, value] of odd.entries()) {
    const messages = { [carol.userId]: { D: { value }, '*': { value } } }
    await mallory.ask('PUT', `sendToDevice/m.odd/${index}`, { messages })
    await mallory.ask('PUT', `profile/${enc(mallory.userId)}/displayname`, { displayname: value })
    await mallory.ask('PUT', `presence/${enc(mallory.userId)}/status`, {
      presence: 'online',
      status_msg: value,
    })
    await mallory.ask('PUT', 'devices/D', { display_name: value })
    const { keys } = new Device({ userId: mallory.userId, deviceId: 'D' })
    await mallory.ask('POST', 'keys/upload', { device_keys: { ...keys, unsigned: { value } } })
    await mallory.ask('POST', 'keys/upload', { device_keys: { ...keys, value } })
    await mallory.ask('PUT', `rooms/${enc(roomId)}/typing/${enc(mallory.userId)}`, {
      typing: value,
    })
  }
  const last = { [carol.userId]: { D: { last: 'it came' } } }
  await alice.do('PUT', `sendToDevice/m.last/last`, { messages: last })
  await alice.say(roomId, 'we go on')
  let since = ''
  let heard = ''
  await until(async () => {
    const sync = (await carol.do('GET', `sync?timeout=0${since}`)) as { next_batch: string }
    since = `&since=${enc(sync.next_batch)}`
    heard += JSON.stringify(sync)
    return heard.includes('it came') && heard.includes('we go on')
  })
})

test('CVE-2024-52805, CWE-409 of continuwuity 0.5.6: a body is JSON, neither unpacked nor taken apart', async () => {
  const form = new FormData()
  for (let each = 0; each < 3; each++) form.append(`part${each}`, 'x')
  const json = '{"type":"m.login.password"}'
  const bodies: [string, Record<string, string>, FormData | Buffer][] = [
    ['a form', {}, form],
    ['what is packed', { 'content-encoding': 'gzip' }, gzipSync(json.padEnd(10_000_000))],
  ]
  for (const [what, headers, body] of bodies) {
    const answer = await alice.fetch('/_matrix/client/v3/login', { method: 'POST', headers, body })
    expect(answer.status, what).toBe(400)
    expect((await answer.json()) as object, what).toMatchObject({ errcode: 'M_NOT_JSON' })
  }
})

test('CVE-2023-32323: an invite to a room of large state stops nothing to the other server', async () => {
  const roomId = await roomOf()
  const large = 'x'.repeat(60_000)
  for (const type of ['topic', 'avatar', 'name', 'encryption'])
    await alice.do('PUT', `rooms/${enc(roomId)}/state/m.room.${type}`, { [type]: large, url: 'x' })
  const { status } = await alice.ask('POST', `rooms/${enc(roomId)}/invite`, {
    user_id: carol.userId,
  })
  expect(status).toBe(200)
  await until(async () => {
    const sync = (await carol.do('GET', 'sync')) as { rooms?: { invite?: object } }
    return roomId in (sync.rooms?.invite ?? {})
  })
  const calm = await roomOf(carol)
  await alice.say(calm, 'it came')
  await until(async () => (await carol.texts(calm)).includes('it came'))
})

test('CVE-2020-26891, CVE-2021-21332, Synapse 1.15.2: pages say nothing that a link says, and stand in no other', async () => {
  const link = encodeURIComponent('"><script>alert(1)</script>')
  for (const path of [
    `/_matrix/client/v3/auth/m.login.terms/fallback/web?session=${link}`,
    `/_matrix/client/v3/auth/m.login.dummy/fallback/web?session=${link}`,
    `/_matrix/client/v3/auth/${link}/fallback/web?session=x`,
  ]) {
    const answer = await alice.fetch(path)
    expect(await answer.text(), path).not.toContain('<script>alert')
    if (!answer.headers.get('content-type')?.includes('html')) continue
    expect(answer.headers.get('content-security-policy'), path).toContain("frame-ancestors 'none'")
  }
})

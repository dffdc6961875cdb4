import { expect, test } from 'bun:test'
import type { Json } from '#core/json.ts'
import { until } from '#test/until.ts'
import { type Disk, canMount, openRefusing, openSmall } from './full-disk.ts'
import { Home } from './home.ts'

type Answer = { status: number; body: any }

/** New work is refused with a sentence that helps, and told when to come back; reading goes on. */
async function fillAndFree(disk: Disk): Promise<void> {
  const home = await Home.openOn(disk.database, 'peer.test')
  try {
    const [peer] = home.peers
    const alice = await home.server.person('alice')
    const roomId = await home.room(alice)
    const at = `rooms/${encodeURIComponent(roomId)}`
    const theirs = await home.joined(peer!, roomId, 'bob')
    const since = (await alice.do('GET', 'sync')).next_batch as string
    const send = (body: string): Promise<Answer> =>
      alice.ask('PUT', `${at}/send/m.room.message/${encodeURIComponent(body)}`, { body })
    const acknowledged: string[] = []
    expect((await send('before')).status).toBe(200)
    const early = theirs.say(peer!.user('bob'), 'from there')
    expect((await home.send(peer!, [early])).status).toBe(200)
    await until(async () => (await alice.texts(roomId)).length === 2)

    await disk.fill()
    // A page with room left may take some more.
    let refused: Answer | undefined
    await until(async () => {
      const text = `under way ${acknowledged.length}`
      const answer = await send(text)
      if (answer.status === 200) acknowledged.push(text)
      else refused = answer
      return refused !== undefined
    })
    const full = {
      status: 503,
      body: {
        errcode: 'M_UNKNOWN',
        error: expect.stringMatching(/disk .* full/),
        retry_after_ms: expect.any(Number),
      },
    }
    expect(refused).toMatchObject(full)
    const wishes: (() => Promise<Answer>)[] = [
      () => alice.ask('PUT', `${at}/state/m.room.topic`, { topic: 'x'.repeat(30_000) }),
      () => alice.ask('POST', 'createRoom', { topic: 'x'.repeat(30_000) }),
      () => alice.ask('PUT', 'user/@alice:home.test/account_data/x', { x: 'x'.repeat(30_000) }),
    ]
    for (const wish of wishes) expect(await wish()).toMatchObject(full)
    // Another server is refused, and so keeps what it has for us.
    const later = Array.from({ length: 20 }, (_, n) =>
      theirs.say(peer!.user('bob'), `from there ${n} ${'x'.repeat(20_000)}`),
    )
    const sendLater = () => home.send(peer!, later)
    expect(await sendLater()).toMatchObject(full)

    // All reading goes on, also that of other servers.
    const texts = await alice.texts(roomId)
    expect(texts).toEqual(['before', 'from there', ...acknowledged])
    const news = await alice.do('GET', `sync?since=${since}`)
    expect(news.rooms.join[roomId].timeline.events.length).toBeGreaterThan(0)
    for (const path of [
      'sync',
      `${at}/state`,
      `${at}/joined_members`,
      'joined_rooms',
      'pushrules/',
    ])
      expect([path, (await alice.ask('GET', path)).status]).toEqual([path, 200])
    const event = `/_matrix/federation/v1/event/${encodeURIComponent(early.eventId)}`
    expect((await peer!.ask(home.base, 'home.test', 'GET', event)).status).toBe(200)

    await disk.free()
    await until(async () => (await send('after')).status === 200)
    await until(async () => (await sendLater()).status === 200)
    const expected = [...texts, 'after', ...later.map(({ pdu }) => textOf(pdu))]
    await until(async () => (await alice.texts(roomId)).length >= expected.length)
    expect((await alice.texts(roomId)).toSorted(byText)).toEqual(expected.toSorted(byText))
    for (const wish of wishes) expect((await wish()).status).toBe(200)
    // A refused send may be repeated under its transaction ID, and one that was taken is not doubled.
    for (const text of ['before', `under way ${acknowledged.length}`])
      expect((await send(text)).status).toBe(200)
    expect(await alice.texts(roomId)).toHaveLength(expected.length + 1)
  } finally {
    await home.remove()
  }
}

const byText = (a: string, b: string) => (a < b ? -1 : a > b ? 1 : 0)
const textOf = (pdu: Json) => (pdu as { content: { body: string } }).content.body

test('while the database says that its disk is full new work is refused and reading goes on', async () => {
  await fillAndFree(await openRefusing())
})

test.skipIf(!canMount)('a disk that is really full is no different', async () => {
  await fillAndFree(await openSmall())
})

import { expect, test } from 'bun:test'
import { join } from 'node:path'
import { openTestDatabase } from '#test/database.ts'
import { type Person, Program, processesOf, until } from '#test/program/program.ts'

const preload = new URL('./end-workers.ts', import.meta.url).pathname

/** Sends until it is acknowledged; answers the other statuses on the way, each with its Retry-After. */
async function persist(person: Person, room: string, txnId: string): Promise<string[]> {
  const refused: string[] = []
  return until(`sending ${txnId}`, async () => {
    const response = await person.send(room, txnId)
    if (response.status === 200) return refused
    refused.push(`${response.status} ${response.headers.get('retry-after')}`)
    return undefined
  })
}

/** Waits for news of rooms: that one is online, say, may come before. */
async function toldOfRooms(person: Person, since: string): Promise<object> {
  for (let from = since, answers = 0; answers < 10; answers++) {
    const answer = await person.ask<{ next_batch: string; rooms?: { join?: object } }>(
      'GET',
      `sync?since=${from}&timeout=50000`,
    )
    if (answer.rooms?.join) return answer.rooms.join
    from = answer.next_batch
  }
  throw new Error('no room was told of')
}

test('PostgreSQL may be killed: requests wait or get 503, then all is as it was', async () => {
  await using program = await Program.start()
  const alice = await program.person('alice')
  const room = await alice.makeRoom()
  const { next_batch: since } = await alice.ask<{ next_batch: string }>('GET', 'sync')
  const before = ['1', '2', '3']
  for (const text of before) expect(await persist(alice, room, text)).toEqual([])

  const file = join(program.directory, 'data/postgres/postmaster.pid')
  const postmaster = Number((await Bun.file(file).text()).split('\n')[0])
  const under = Array.from({ length: 20 }, (_, index) => `under way ${index}`)
  const sending = Promise.all(under.map((text) => persist(alice, room, text)))
  process.kill(postmaster, 'SIGKILL')
  const reading = until('reading', async () => {
    const response = await alice.request('GET', `rooms/${room}/messages?dir=b`)
    if (response.status !== 200) expect(response.status).toBe(503)
    return response.status === 200
  })
  const refused = (await sending).flat()
  await reading
  expect(refused.filter((each) => !/^503 \d+$/.test(each))).toEqual([])

  const sent = [...before, ...under]
  expect((await alice.messages(room)).toSorted()).toEqual(sent.toSorted())
  // Those who wait for news are woken again.
  const woken = alice.ask<{ rooms: { join: Record<string, unknown> } }>(
    'GET',
    `sync?since=${since}&timeout=0`,
  )
  expect(Object.keys((await woken).rooms.join)).toEqual([decodeURIComponent(room)])
  const { next_batch: now } = await alice.ask<{ next_batch: string }>('GET', 'sync')
  const waiting = toldOfRooms(alice, now)
  expect(await persist(alice, room, 'after')).toEqual([])
  expect(Object.keys(await waiting)).toEqual([decodeURIComponent(room)])
  expect(await program.end()).toBe(0)
  expect(processesOf(program.directory)).toEqual([])
})

test('a room worker that dies is started again, and its rooms go on', async () => {
  await using database = await openTestDatabase()
  await using program = await Program.start({ database: database.url, preload })
  const alice = await program.person('alice')
  const room = await alice.makeRoom()
  const restarts = async () =>
    (await program.log()).filter(({ err }) => err?.message.includes('restarts in')).length
  const sent: string[] = []
  for (let death = 1; death <= 3; death++) {
    const texts = Array.from({ length: 5 }, (_, index) => `death ${death}, ${index}`)
    const sending = Promise.all(texts.map((text) => persist(alice, room, text)))
    process.kill(program.pid, 'SIGUSR1')
    const refused = (await sending).flat()
    await until('the restart', async () => (await restarts()) === death)
    expect(refused.filter((each) => !/^503 \d+$/.test(each))).toEqual([])
    sent.push(...texts)
    expect(await persist(alice, room, `after death ${death}`)).toEqual([])
    sent.push(`after death ${death}`)
  }
  expect((await alice.messages(room)).toSorted()).toEqual(sent.toSorted())
  expect(await restarts()).toBe(3)
  expect(await program.end()).toBe(0)
})

test('a federation worker that dies is started again', async () => {
  let asked = 0
  using peer = Bun.serve({
    port: 0,
    hostname: '127.0.0.1',
    fetch: () => Response.json({ errcode: 'M_NOT_FOUND', error: `${++asked}` }, { status: 404 }),
  })
  const name = `127.0.0.1:${peer.port}`
  await using database = await openTestDatabase()
  await using program = await Program.start({ database: database.url, preload })
  const alice = await program.person('alice')
  // The peer has no certificate: what the worker says of it shows that the worker is there.
  const profile = () => alice.request('GET', `profile/${encodeURIComponent(`@bob:${name}`)}`)
  const usual = (await profile()).status
  process.kill(program.pid, 'SIGUSR2')
  await until('the restart', async () =>
    (await program.log()).some(({ err }) => err?.message.includes('restarts in')),
  )
  await until('the next answer', async () => (await profile()).status === usual)
  expect(await program.end()).toBe(0)
})

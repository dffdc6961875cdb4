import { expect, test } from 'bun:test'
import { join } from 'node:path'
import { silentLog } from '#src/log.ts'
import { withDatabase } from '#store/db.ts'
import { startEmbedded } from '#store/embedded/start.ts'
import { newFolder } from '#test/folder.ts'
import { type Person, Program, processesOf, until } from '#test/program/program.ts'

type Sync = {
  next_batch: string
  rooms?: { join?: Record<string, { timeline: { events: Message[] } }> }
}
type Message = { type: string; content: { body: string } }

/** Follows a room by one sync after another, as a client does; every answer must be a good one. */
async function follow(person: Person, room: string, isLast: (text: string) => boolean) {
  const texts: string[] = []
  let { next_batch: since } = await person.ask<Sync>(
    'GET',
    'sync?filter={"room":{"timeline":{"limit":0}}}',
  )
  const roomId = decodeURIComponent(room)
  return {
    texts,
    done: (async () => {
      while (texts.length === 0 || !isLast(texts.at(-1)!)) {
        const news = await person.ask<Sync>(
          'GET',
          `sync?since=${since}&timeout=30000&filter={"room":{"timeline":{"limit":1000}}}`,
        )
        since = news.next_batch
        const events = news.rooms?.join?.[roomId]?.timeline.events ?? []
        for (const { type, content } of events)
          if (type === 'm.room.message') texts.push(content.body)
      }
    })(),
  }
}

test('a short restart of PostgreSQL is not noticed by clients in the middle of sends and syncs', async () => {
  await using program = await Program.start({ sections: '[database]\nwait_seconds = 60\n' })
  const [alice, bob] = [await program.person('alice'), await program.person('bob')]
  const room = await alice.makeRoom()
  await alice.ask('POST', `rooms/${room}/invite`, { user_id: '@bob:localhost' })
  await bob.ask('POST', `join/${room}`, {})
  const following = await follow(bob, room, (text) => text === 'last')

  const file = Bun.file(join(program.directory, 'data/postgres/postmaster.pid'))
  const postmaster = async () => Number((await file.text().catch(() => '')).split('\n')[0]) || 0
  const sent: string[] = []
  const send = async (text: string) => {
    const answer = await alice.send(room, text)
    expect([text, answer.status]).toEqual([text, 200])
    sent.push(text)
  }
  // A clean restart, a crash, and a clean one again.
  for (const [round, signal] of (['SIGINT', 'SIGKILL', 'SIGINT'] as const).entries()) {
    const before = await postmaster()
    await send(`before ${round}`)
    process.kill(before, signal)
    // At least one is sent, and one account made its login, before the next postmaster is there.
    for (let n = 0; ; n++) {
      await send(`under way ${round}, ${n}`)
      expect((await program.logIn('bob', 'the password of bob')).status).toBe(200)
      const now = await postmaster()
      if (n > 0 && now !== 0 && now !== before) break
    }
  }
  await send('last')
  await following.done
  expect(following.texts).toEqual(sent)
  expect(await alice.messages(room)).toEqual(sent.slice(-100))
  const restarts = (await program.log()).filter(({ msg }) => msg.includes('starting it again'))
  expect(restarts).toHaveLength(3)
  expect(await program.end()).toBe(0)
  expect(processesOf(program.directory)).toEqual([])
})

test('while PostgreSQL stays away everything is refused with a time to come back, and then goes on', async () => {
  const dataDir = await newFolder('away')
  const start = () => startEmbedded({ dataDir, log: silentLog, durable: false })
  let postgres = await start()
  await using program = await Program.start({
    database: withDatabase(postgres.url, 'laneway'),
    sections: 'wait_seconds = 0.3\n',
  })
  const alice = await program.person('alice')
  const room = await alice.makeRoom()
  expect((await alice.send(room, 'before')).status).toBe(200)
  const { next_batch: since } = await alice.ask<Sync>('GET', 'sync')
  const refused = async (answer: Promise<Response>) => {
    const response = await answer
    const body = (await response.json()) as { errcode?: string; error?: string }
    expect([response.status, body.errcode, body.error]).toEqual([
      503,
      'M_UNKNOWN',
      expect.any(String),
    ])
    expect(Number(response.headers.get('retry-after'))).toBeGreaterThan(0)
  }

  await postgres.stop()
  const asked = ['messages?dir=b', 'joined_members', 'state/m.room.create']
  const sending = Array.from({ length: 5 }, (_, n) => alice.send(room, `while it is away ${n}`))
  for (const path of asked) await refused(alice.request('GET', `rooms/${room}/${path}`))
  await refused(alice.request('GET', 'sync'))
  await refused(program.logIn('alice', 'the password of alice'))
  await refused(alice.request('PUT', 'profile/@alice:localhost/displayname', { displayname: 'A' }))
  // What needs no database is answered all the while.
  expect((await program.fetch('/_matrix/client/versions')).status).toBe(200)
  await until('a refused send', async () => {
    const answer = await alice.send(room, 'too late')
    return answer.status === 503 && answer.headers.has('retry-after')
  })

  postgres = await start()
  await until('a send', async () => (await alice.send(room, 'after')).status === 200)
  await Promise.all(sending)
  // Whoever was refused tries again, under the same transaction IDs.
  for (const text of ['while it is away 0', 'while it is away 4', 'too late'])
    await until(text, async () => (await alice.send(room, text)).status === 200)
  const there = await alice.messages(room)
  expect(there[0]).toBe('before')
  expect(new Set(there).size).toBe(there.length)
  for (const text of ['after', 'while it is away 0', 'while it is away 4', 'too late'])
    expect(there).toContain(text)
  const news = await alice.ask<Sync>('GET', `sync?since=${since}`)
  const timeline = news.rooms!.join![decodeURIComponent(room)]!.timeline.events
  expect(timeline.map(({ content }) => content.body)).toEqual(there.slice(1))

  const log = await program.log()
  expect(log.filter(({ level }) => level === 'fatal')).toEqual([])
  expect(log.some(({ msg }) => msg.startsWith('the database is away'))).toBe(true)
  expect(log.some(({ msg }) => msg === 'the database is back')).toBe(true)
  expect(await program.end()).toBe(0)
  await postgres.stop()
})

import { expect, test } from 'bun:test'
import { openTestDatabase } from '#test/database.ts'
import { PostgresGate } from '#test/postgres-gate.ts'
import { Program, until } from '#test/program/program.ts'

test('a database that is still starting up is waited for', async () => {
  await using database = await openTestDatabase()
  const refusal = { code: '57P03', message: 'the database system is starting up' }
  using gate = await PostgresGate.open(database.url, refusal)
  await using program = await Program.prepare({ database: gate.url })
  program.spawn()
  await until('a second try', () => gate.refused >= 2)
  gate.refusal = undefined
  await until('the start', async () => (await program.log()).some((record) => record.listening))
  expect(await program.complaints()).toContain('warn: the database is starting up ')
  expect(await program.end()).toBe(0)
})

test('without a connection left new work waits, is refused in words that help, and goes on', async () => {
  await using database = await openTestDatabase()
  using gate = await PostgresGate.open(database.url)
  await using program = await Program.start({
    database: gate.url,
    sections: 'wait_seconds = 0.5\n',
  })
  const alice = await program.person('alice')
  const room = await alice.makeRoom()
  expect((await alice.send(room, 'before')).status).toBe(200)

  gate.refusal = { code: '53300', message: 'sorry, too many clients already' }
  gate.cut()
  const read = () => alice.request('GET', `rooms/${room}/messages?dir=b`)
  const refused = await until('a refusal', async () => {
    const answer = await read()
    return answer.status === 200 ? false : answer
  })
  expect([refused.status, await refused.json()]).toMatchObject([
    503,
    { errcode: 'M_UNKNOWN', error: 'The database has no connection left' },
  ])
  expect(Number(refused.headers.get('retry-after'))).toBeGreaterThan(0)
  await until('a refused send', async () => (await alice.send(room, 'meanwhile')).status === 503)
  expect((await program.fetch('/_matrix/client/versions')).status).toBe(200)

  gate.refusal = undefined
  for (const text of ['meanwhile', 'after'])
    await until(text, async () => (await alice.send(room, text)).status === 200)
  expect(await alice.messages(room)).toEqual(['before', 'meanwhile', 'after'])
  expect((await program.log()).filter(({ level }) => level === 'fatal')).toEqual([])
  expect(await program.end()).toBe(0)
})

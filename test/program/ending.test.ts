import { expect, test } from 'bun:test'
import { openTestDatabase } from '#test/database.ts'
import { Program, processesOf, until } from '#test/program/program.ts'

test('SIGTERM ends it cleanly, with a sync that waits', async () => {
  await using program = await Program.start()
  const alice = await program.person('alice')
  await alice.makeRoom()
  const { next_batch: since } = await alice.ask<{ next_batch: string }>('GET', 'sync')
  const waiting = alice.request('GET', `sync?since=${since}&timeout=60000`).then(
    (response) => response.status,
    () => 'the connection was closed',
  )
  await Bun.sleep(100)

  // An end that takes longer than five seconds has another code.
  expect(await program.end('SIGTERM')).toBe(0)
  expect(processesOf(program.directory)).toEqual([])
  expect([200, 503, 'the connection was closed']).toContain(await waiting)
  expect((await program.log()).at(-1)?.msg).toBe('ended')
  expect(await program.complaints()).toEqual([])
})

test('a signal that comes twice, from the terminal and from what started it, ends it as cleanly', async () => {
  await using database = await openTestDatabase()
  await using program = await Program.start({ database: database.url })
  process.kill(program.pid, 'SIGTERM')
  expect(await program.end('SIGINT')).toBe(0)
  expect((await program.log()).at(-1)?.msg).toBe('ended')
})

test('SIGTERM in the middle of the start ends it as well', async () => {
  await using program = await Program.prepare()
  program.spawn()
  await until('PostgreSQL', () => processesOf(`${program.directory}/data`).length > 0)
  const code = await program.end('SIGTERM')
  // On a slow machine the rest of the start takes longer than an end may.
  const isLate = (await program.log()).at(-1)?.msg.startsWith('the end took longer than')
  expect(code).toBe(isLate ? 1 : 0)
  await until('its end', () => processesOf(program.directory).length === 0)
})

test('killed and started again, it has what it acknowledged and goes on', async () => {
  await using program = await Program.start()
  const alice = await program.person('alice')
  const room = await alice.makeRoom()
  const sent = ['one', 'two', 'three']
  for (const text of sent) expect((await alice.send(room, text)).status).toBe(200)

  await program.end('SIGKILL')
  await program.start()
  expect(await alice.messages(room)).toEqual(sent)
  // The same transaction is the same event.
  expect((await alice.send(room, 'three')).status).toBe(200)
  expect((await alice.send(room, 'four')).status).toBe(200)
  expect(await alice.messages(room)).toEqual([...sent, 'four'])
  expect(await program.complaints()).toEqual([])
})

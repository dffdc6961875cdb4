import { expect, test } from 'bun:test'
import { appendFile, cp, mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { plan } from '#importers/commands/plan.ts'
import { run, type RunOptions } from '#importers/commands/run.ts'
import { undo } from '#importers/commands/sessions.ts'
import { verify } from '#importers/commands/verify.ts'
import type { Login } from '#test/laneway.ts'
import { until } from '#test/until.ts'
import { importHome, roomPath } from './import-home.ts'
import { quiet } from './prepared.ts'

const { folder, server, admin, joinedRooms } = await importHome('import')
const bob = await server.register('bob')
const console = { ...quiet(), json: false }
const { told } = console

/** A plan for an export, and the commands on it. */
async function imported(name: string, exportPath: string, map = '') {
  const access = { token: admin.token, tokenFile: undefined }
  const out = join(folder, `${name}.toml`)
  const mapPath = join(folder, `${name}-map.toml`)
  await Bun.write(mapPath, map)
  await plan(
    exportPath,
    { ...access, server: server.clientUrl, out, format: 'auto', source: name, map: mapPath },
    console,
  )
  return {
    run: (options: Partial<RunOptions> = {}) =>
      run(out, { ...access, jobs: 2, media: false, ...options }, console),
    verify: (readerToken?: string) =>
      verify(undefined, { ...access, plan: out, sample: 10, full: true, readerToken }, console),
    undo: () => undo(undefined, { ...access, plan: out, all: true }, console),
  }
}

/** Rooms that come to be while something is done. */
async function newRooms(work: () => Promise<unknown>): Promise<string[]> {
  const before = new Set(await joinedRooms())
  await work()
  return (await joinedRooms()).filter((each) => !before.has(each))
}

const bodies = async (reader: Login, roomId: string) =>
  (await reader.history(roomId))
    .filter(({ type, content }) => type === 'm.room.message' && content['body'] !== undefined)
    .map(({ content }) => String(content['body']))

test('a Gitter archive is imported, verified by a plain user, undone and imported again', async () => {
  const exportPath = join(folder, 'gitter')
  await cp(join(import.meta.dir, 'fixtures/gitter/rest'), exportPath, { recursive: true })
  const it = await imported('gitter', exportPath)
  let code: number | undefined
  const [roomId] = await newRooms(async () => (code = await it.run()))
  // One record of the fixture has no ID.
  expect(code).toBe(3)
  await bob.ask('POST', `${roomPath(roomId!)}/join`, {})
  const expected = [
    '@bob see **docs** #12 and `a:100:b` at 12:30:45 🎉',
    'thanks',
    'waves at @bob',
    '[travis] build passed',
  ]
  await until(async () => (await bodies(bob, roomId!)).length >= 6)
  const read = await bodies(bob, roomId!)
  expect(read.filter((body) => expected.includes(body))).toEqual(expected)
  expect(await it.verify(bob.token)).toBe(0)
  const name = await admin.get<{ name: string }>(`${roomPath(roomId!)}/state/m.room.name`)
  expect(name).toEqual({ name: 'gitterHQ/gitter' })
  // Again: nothing is new.
  await it.run()
  expect(await bodies(bob, roomId!)).toEqual(read)
  await it.undo()
  await until(async () => (await bodies(bob, roomId!)).length === 0)
  await it.run()
  await until(async () => (await bodies(bob, roomId!)).length === read.length)
  expect(await bodies(bob, roomId!)).toEqual(read)
  expect(await it.verify(bob.token)).toBe(0)
})

test('history goes between what was said in a room, and a newer export brings what is new', async () => {
  const { room_id: roomId } = await admin.ask<{ room_id: string }>(
    'POST',
    '/_matrix/client/v3/createRoom',
    { preset: 'public_chat', room_alias_name: 'live' },
  )
  await bob.ask('POST', `${roomPath(roomId)}/join`, {})
  await admin.ask('PUT', `${roomPath(roomId)}/send/m.room.message/1`, {
    msgtype: 'm.text',
    body: 'live',
  })
  const exportPath = join(folder, 'own')
  await mkdir(exportPath, { recursive: true })
  const chat = join(exportPath, 'chat.ndjson')
  const time = Date.UTC(2020, 0, 1)
  const line = (id: number, more: object = {}) =>
    `${JSON.stringify({ kind: 'message', room: 'c', id: String(id), sender: 'u', time: time + id, body: `old ${id}`, ...more })}\n`
  await Bun.write(
    chat,
    '{"kind":"person","id":"u","name":"U"}\n' +
      line(0, { reactions: [{ key: '👍', people: ['u'] }] }) +
      line(1, { thread: '0' }) +
      line(2, { earlier: [{ time: time + 2, body: 'older 2' }] }) +
      line(3, { replyTo: '2' }) +
      line(3.5, { body: '', files: [{ name: 'note ä.txt', content: { entry: 'note.txt' } }] }),
  )
  await Bun.write(join(exportPath, 'note.txt'), 'a file of long ago')
  const it = await imported('own', exportPath, '[rooms]\nc = "#live:home.test"\n')
  expect(await it.run({ media: true })).toBe(0)
  await until(async () => (await bodies(bob, roomId)).length === 7)
  expect(await bodies(bob, roomId)).toEqual([
    'old 0',
    'old 1',
    'older 2',
    '* old 2',
    'old 3',
    'note ä.txt',
    'live',
  ])
  expect(await it.verify(bob.token)).toBe(0)
  expect(told.at(-2)).toBe('1 files can be fetched, or are told above')
  const shared = (await bob.history(roomId)).find(({ content }) => content['msgtype'] === 'm.file')!
  const path = `/_matrix/client/v1/media/download/${String(shared.content['url']).slice('mxc://'.length)}`
  const answer = await bob.request('GET', path)
  expect(await answer.text()).toBe('a file of long ago')
  expect(answer.headers.get('content-type')).toContain('text/plain')
  await appendFile(chat, line(4))
  expect(await it.run({ media: true })).toBe(0)
  await until(async () => (await bodies(bob, roomId)).length === 8)
  expect((await bodies(bob, roomId)).slice(-3)).toEqual(['note ä.txt', 'old 4', 'live'])
  expect(await it.verify(bob.token)).toBe(0)
})

test('a second chat goes into the gap that a first one filled: each reads in order, and both verify', async () => {
  const { room_id: roomId } = await admin.ask<{ room_id: string }>(
    'POST',
    '/_matrix/client/v3/createRoom',
    { preset: 'public_chat', room_alias_name: 'gap' },
  )
  await admin.ask('PUT', `${roomPath(roomId)}/send/m.room.message/1`, {
    msgtype: 'm.text',
    body: 'live',
  })
  const time = Date.UTC(2020, 0, 1)
  const chat = async (name: string, from: number) => {
    const lines = Array.from({ length: 10 }, (_, id) =>
      JSON.stringify({
        kind: 'message',
        room: 'c',
        id: String(id),
        sender: 'u',
        time: time + from + id * 1000,
        body: `${name} ${id}`,
      }),
    )
    const path = join(folder, name)
    await mkdir(path, { recursive: true })
    await Bun.write(join(path, 'chat.ndjson'), lines.join('\n'))
    return imported(name, path, '[rooms]\nc = "#gap:home.test"\n')
  }
  const first = await chat('first', 0)
  // What was in the middle comes before what is around it.
  expect(await first.run({ since: time + 5000, until: time + 10_000 })).toBe(0)
  expect(await first.run()).toBe(0)
  const second = await chat('second', 500)
  expect(await second.run()).toBe(0)
  await until(async () => (await bodies(admin, roomId)).length === 21)
  const read = await bodies(admin, roomId)
  for (const name of ['first', 'second']) {
    const own = read.filter((body) => body.startsWith(name))
    expect(own).toEqual(Array.from({ length: 10 }, (_, id) => `${name} ${id}`))
  }
  // Each begins where its first time belongs.
  expect([read[0], read[1], read.at(-1)]).toEqual(['first 0', 'second 0', 'live'])
  for (const it of [first, second]) expect(await it.verify()).toBe(0)
  await first.undo()
  await until(async () => (await bodies(admin, roomId)).length === 11)
  expect(await second.verify()).toBe(0)
})

test('a user of the map writes what a person of the export wrote, and is in the room', async () => {
  const carol = await server.register('carol')
  const exportPath = join(folder, 'mapped')
  await mkdir(exportPath, { recursive: true })
  const line = (id: number, sender: string, more: object = {}) =>
    `${JSON.stringify({ kind: 'message', room: 'm', id: String(id), sender, time: Date.UTC(2020, 0, 1) + id, body: `said ${id}`, ...more })}\n`
  await Bun.write(
    join(exportPath, 'chat.ndjson'),
    line(0, 'c', { pinned: true }) + line(1, 'ghost') + line(2, 'spam') + line(3, 'c'),
  )
  const map = `[users]\nc = "carol"\nspam = "skip"\n`
  const it = await imported('mapped', exportPath, map)
  const [roomId] = await newRooms(() => it.run())
  await until(async () => (await bodies(carol, roomId!)).length === 3)
  const said = (await carol.history(roomId!)).filter(({ type }) => type === 'm.room.message')
  expect(said.map(({ sender, content }) => [sender, content['body']])).toEqual([
    ['@carol:home.test', 'said 0'],
    ['@_import_mapped_ghost:home.test', 'said 1'],
    ['@carol:home.test', 'said 3'],
  ])
  expect(await it.verify(carol.token)).toBe(0)
  const path = `${roomPath(roomId!)}/state/m.room.pinned_events`
  expect(await carol.get<{ pinned: string[] }>(path)).toEqual({ pinned: [said[0]!.event_id] })
})

test('an archive goes into a room of its own, which is linked with the one that people use', async () => {
  const { room_id: live } = await admin.ask<{ room_id: string }>(
    'POST',
    '/_matrix/client/v3/createRoom',
    { preset: 'public_chat', room_alias_name: 'used' },
  )
  const exportPath = join(folder, 'archive')
  await mkdir(exportPath, { recursive: true })
  const message = { kind: 'message', room: 'a', id: '1', sender: 'u', time: 1.6e12, body: 'old' }
  await Bun.write(join(exportPath, 'chat.ndjson'), JSON.stringify(message))
  const it = await imported('archive', exportPath, '[rooms]\na = "#used:home.test"\n')
  const [history] = await newRooms(() => it.run({ mode: 'archive' }))
  await until(async () => (await bodies(admin, history!)).length > 0)
  expect(await bodies(admin, history!)).toContain('old')
  const state = (roomId: string, type: string) =>
    admin.get<{ [name: string]: unknown }>(`${roomPath(roomId)}/state/${type}`)
  expect(await state(history!, 'm.room.tombstone')).toMatchObject({ replacement_room: live })
  expect(await state(live, 'org.matrix.msc3946.room_predecessor')).toMatchObject({
    predecessor_room_id: history,
  })
})

test('the server is killed between batches: the importer waits for it, and all is there once', async () => {
  const count = 4500
  const exportPath = join(folder, 'killed')
  await mkdir(exportPath, { recursive: true })
  const line = (id: number) =>
    `${JSON.stringify({ kind: 'message', room: 'k', id: String(id), sender: `u${id % 3}`, time: Date.UTC(2020, 0, 1) + id, body: `said ${id}`, ...(id % 9 === 8 && { replyTo: String(id - 5) }) })}\n`
  await Bun.write(
    join(exportPath, 'chat.ndjson'),
    Array.from({ length: count }, (_, id) => line(id)).join(''),
  )
  const it = await imported('killed', exportPath)
  let code: number | undefined
  const [roomId] = await newRooms(async () => {
    const running = it.run()
    type Listed = { sessions: { next_batch: number }[] }
    await until(async () => {
      const { sessions } = await admin.get<Listed>('/_laneway/import/v1/sessions?source=killed')
      return sessions.some(({ next_batch: next }) => next > 0)
    })
    await server.stop('SIGKILL')
    await server.start()
    code = await running
  })
  expect(code).toBe(0)
  const said = async () => (await bodies(admin, roomId!)).filter((body) => body.startsWith('said'))
  await until(async () => (await said()).length >= count)
  expect(await said()).toEqual(Array.from({ length: count }, (_, id) => `said ${id}`))
})

test('who is no administrator is refused before anything is read', async () => {
  const refused = await plan(
    join(folder, 'not there'),
    {
      token: bob.token,
      tokenFile: undefined,
      server: server.clientUrl,
      out: join(folder, 'never.toml'),
      format: 'auto',
    },
    console,
  ).catch((error: unknown) => error)
  expect(String(refused)).toContain('may not import')
})

import { expect, test } from 'bun:test'
import { appendFile } from 'node:fs/promises'
import { verify } from '#importers/commands/verify.ts'
import type { FakeServer } from '#test/importers/fake-server.ts'
import {
  access,
  line,
  lines,
  people,
  prepared,
  quiet,
  roomId,
  start,
  texts,
} from '#test/importers/prepared.ts'

test('a newer export adds only what is new', async () => {
  await using it = await prepared(lines(10))
  await it.run()
  await appendFile(it.file, line(10) + line(11))
  expect(await it.run()).toBe(0)
  expect(it.server.texts(roomId)).toEqual(texts(12))
  expect([...it.server.sessions.values()].map(({ accepted, mode }) => [accepted, mode])).toEqual([
    [10, 'fresh'],
    [2, 'insert'],
  ])
})

test('a newer export that lacks what was imported last adds only what is new', async () => {
  await using it = await prepared(lines(10))
  await it.run()
  await Bun.write(it.file, people + lines(9) + line(10))
  expect(await it.run()).toBe(0)
  expect(it.server.texts(roomId)).toEqual(texts(11))
  expect([...it.server.sessions.values()].map(({ accepted }) => accepted)).toEqual([10, 1])
})

const shown = (server: FakeServer) =>
  server.rooms.get(roomId)!.events.map(({ type, content }) => {
    const edited = content['m.new_content'] as { body?: string } | undefined
    return edited ? `edit: ${edited.body}` : type === 'm.room.message' ? content['body'] : type
  })

test('--update brings what was edited, deleted or reacted to since, once; without it that is told', async () => {
  const edited = (body: string, at: number) => line(1, { body, editedAt: start + at })
  await using it = await prepared(line(0) + edited('text 1', 2000) + line(2))
  await it.run()
  const reacted = line(0, { reactions: [{ key: '👍', people: ['u1', 'u2'] }] })
  const newer = reacted + edited('changed', 60_000) + line(2, { body: '', deleted: true }) + line(3)
  await Bun.write(it.file, people + newer)
  const console = quiet()
  expect(await it.run({}, console)).toBe(0)
  expect(console.told.join('\n')).toContain('--update brings')
  expect(shown(it.server)).toEqual(['text 0', 'text 1', 'text 2', 'text 3'])

  expect(await it.run({ update: true })).toBe(0)
  const all = [
    'text 0',
    'text 1',
    'text 2',
    'text 3',
    'm.reaction',
    'm.reaction',
    'm.room.redaction',
    'edit: changed',
  ]
  expect(shown(it.server)).toEqual(all)
  const asked = it.server.asked.length
  expect(await it.run({ update: true })).toBe(0)
  expect(it.server.asked.slice(asked).filter((each) => !each.startsWith('GET'))).toEqual([])

  // Back to what it was is a change too; another person reacted.
  const back = line(0, { reactions: [{ key: '👍', people: ['u0', 'u1', 'u2'] }] })
  await Bun.write(it.file, people + back + edited('text 1', 90_000) + line(3))
  expect(await it.run({ update: true })).toBe(0)
  expect(shown(it.server).filter((each) => !all.includes(String(each)))).toEqual(['edit: text 1'])
  expect(shown(it.server).filter((each) => each === 'm.reaction')).toHaveLength(3)
  const check = { ...access, plan: it.planPath, sample: 1 }
  expect(await verify(undefined, check, quiet())).toBe(0)
})

test('what belongs to both sides of what came before goes there in pieces', async () => {
  await using it = await prepared(lines(10))
  await it.run({ since: start + 3000, until: start + 6000 })
  expect(await it.run()).toBe(0)
  expect(it.server.texts(roomId)).toEqual(texts(10))
  expect([...it.server.sessions.values()].map(({ accepted }) => accepted)).toEqual([3, 3, 4])
  const check = { ...access, plan: it.planPath, sample: 1 }
  expect(await verify(undefined, check, quiet())).toBe(0)
})

test('what lies among what came before in very many places stands together at last', async () => {
  const scattered = Array.from({ length: 500 }, (_, id) => line(id, { body: `${id}` }))
  await using it = await prepared(scattered.filter((_, id) => id % 2 === 0).join(''))
  await it.run()
  await Bun.write(it.file, people + scattered.join(''))
  const console = quiet()
  expect(await it.run({}, console)).toBe(0)
  expect(console.told.join('\n')).toContain('in too many places')
  expect(it.server.texts(roomId)).toHaveLength(500)
  expect(it.server.texts(roomId).slice(0, 400)).toEqual(
    Array.from({ length: 400 }, (_, id) => `${id}`),
  )
  expect(it.server.sessions.size).toBe(202)
})

test('what was not sent yet is sent as the newest export has it', async () => {
  await using it = await prepared(lines(2))
  await Bun.write(it.file, people + line(0, { body: 'changed', editedAt: start + 9000 }) + line(1))
  expect(await it.run()).toBe(0)
  expect(it.server.texts(roomId)).toEqual(['changed', 'text 1'])
})

test('who is in a direct chat and has a user here is invited to it, once, when the history is in', async () => {
  const direct = { room: 'general', type: 'direct', members: ['u0', 'u1', 'u2', 'quiet'] }
  const room = `${JSON.stringify({ kind: 'room', id: 'general', ...direct })}\n`
  await using it = await prepared(room + lines(3))
  const text = await Bun.file(it.planPath).text()
  const map =
    '[people.map]\nu1 = "@bob:home.test"\nquiet = "@carol:home.test"\nu2 = "@refused:home.test"\n'
  await Bun.write(it.planPath, text.replace('[people.map]\n', map))
  expect(await it.run()).toBe(0)
  expect(it.server.wishes).toMatchObject([{ is_direct: true }])
  const members = it.server.rooms.get(roomId)!.members!
  const invite = { membership: 'invite', is_direct: true }
  expect(Object.fromEntries(members)).toEqual({
    '@bob:home.test': invite,
    '@carol:home.test': invite,
  })
  const order = it.server.asked.filter(
    (each) => each.includes('commit') || /PUT.*member/.test(each),
  )
  expect(order[0]).toContain('commit')
  // Who left is not called back by a newer export.
  members.clear()
  await appendFile(it.file, line(3))
  expect(await it.run()).toBe(0)
  expect(members.size).toBe(0)
})

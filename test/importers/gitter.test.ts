import { expect, test } from 'bun:test'
import { join } from 'node:path'
import type { Message } from '#importers/format.ts'
import { formatOf } from '#importers/formats.ts'
import { gitter } from '#importers/gitter/gitter.ts'
import { People } from '#importers/matrix/people.ts'
import { Mapper } from '#importers/matrix/records.ts'
import { openSource } from '#importers/source/open.ts'
import { openState } from '#importers/state/database.ts'
import { Ledger } from '#importers/state/ledger.ts'
import { Problems } from '#importers/state/problems.ts'
import { readExport } from '#importers/state/reading.ts'
import type { SpooledRow, Stamped } from '#importers/state/spool.ts'
import { exportFolder, itemsOf, linesOf } from '#test/importers/items.ts'

const fixtures = join(import.meta.dir, 'fixtures/gitter')
const golden = (name: string) => Bun.file(join(fixtures, `${name}.golden.ndjson`)).text()

const messagesOf = async (files: { [name: string]: string }) => {
  await using folder = await exportFolder(files)
  const { items, problems } = await itemsOf(gitter, folder.path)
  return { messages: items.filter((item): item is Message => item.kind === 'message'), problems }
}
const rest = (message: object) => ({
  id: '5f8a1c2e9d3b4a0012345601',
  text: 'hello',
  sent: '2020-10-16T22:19:58.123Z',
  readBy: 1,
  fromUser: { id: '5f0000000000000000000001', username: 'alice', displayName: 'Alice A' },
  ...message,
})

test('an archive of the REST API gives its items, and its faults with their places', async () => {
  const { items, problems } = await itemsOf(gitter, join(fixtures, 'rest'))
  expect(linesOf(items)).toBe(await golden('rest'))
  expect(problems.map((each) => [each.class, each.place.line, each.done])).toEqual([
    ['bridged', 7, 'left_out'],
    ['bad_time', 8, 'degraded'],
    ['malformed', 10, 'skipped'],
  ])
})

test('an export of a room joins authors by their IDs, and takes what is whole of a file that is cut off', async () => {
  const { items, problems } = await itemsOf(gitter, join(fixtures, 'room-export'))
  expect(linesOf(items)).toBe(await golden('room-export'))
  expect(problems.map((each) => [each.class, each.place.file, each.place.line])).toEqual([
    ['malformed', 'sample/gitter-room-messages-2021-1-5.ndjson', 4],
  ])
})

test.each(['rest', 'room-export'])('%s is recognized as Gitter, and said why', async (name) => {
  const source = await openSource(join(fixtures, name), () => undefined)
  const { format, why } = await formatOf(source, 'auto')
  expect([format.name, why]).toEqual(['gitter', expect.stringContaining('Gitter')])
})

test('a dump of somebody else names the room on each message', async () => {
  const { messages } = await messagesOf({
    'dump.json': JSON.stringify([rest({ room: 'a/b' }), rest({ id: 'x'.repeat(24), room: 'a/c' })]),
  })
  expect(messages.map(({ room }) => room)).toEqual(['a/b', 'a/c'])
})

test('a file of messages belongs to its folder, or to the room that it is named as', async () => {
  const { messages } = await messagesOf({
    'rooms/org/one/messages.ndjson': JSON.stringify(rest({})),
    'rooms/org/two.json': JSON.stringify([rest({})]),
  })
  expect(messages.map(({ room }) => room)).toEqual(['org/one', 'org/two'])
})

test('a date that is none gives way to the second of the ID; without that, it is told behind', async () => {
  const { messages, problems } = await messagesOf({
    'a.json': JSON.stringify([rest({ sent: '2020-13-45' }), rest({ id: 'own', sent: '' })]),
  })
  expect(messages.map(({ time }) => time)).toEqual([1602886702000, Number.NaN])
  expect(problems.map((each) => each.class)).toEqual(['bad_time'])
})

test('people are told once, also when they wrote often', async () => {
  const lines = Array.from({ length: 50 }, (_, index) =>
    JSON.stringify(rest({ id: `5f8a1c2e9d3b4a00123456${10 + index}` })),
  )
  await using folder = await exportFolder({ 'r/messages.ndjson': `${lines.join('\n')}\n` })
  const { items } = await itemsOf(gitter, folder.path)
  expect(items.filter(({ kind }) => kind === 'person')).toHaveLength(1)
  expect(items.filter(({ kind }) => kind === 'message')).toHaveLength(50)
})

test('an export of a user has the user on each message, and twenty files that are no messages', async () => {
  const { items, problems } = await itemsOf(gitter, join(fixtures, 'user-export'))
  expect(problems).toEqual([])
  const said = items.filter((item): item is Message => item.kind === 'message')
  expect(said.map(({ id, sender, order }) => [id.slice(-1), sender.slice(-1), order])).toEqual([
    ['2', '1', '5f8a1c4f9d3b4a0012345602'],
    ['1', '1', '5f8a1c2e9d3b4a0012345601'],
  ])
  const rooms = items.filter((item) => item.kind === 'room')
  expect(rooms.map(({ name, type, topic }) => [name, type, topic])).toEqual([
    ['gitterHQ/gitter', 'public', undefined],
    ['Bob', 'direct', undefined],
  ])
})

test('gone users, long names and links to files are what a server takes', async () => {
  await using folder = await exportFolder({})
  const db = openState(folder.path)
  const source = await openSource(join(fixtures, 'long-names'), () => undefined)
  await readExport(db, new Problems(db), { source, format: gitter, options: {} })
  const ledger = new Ledger(db)
  const people = new People(
    ledger,
    { mode: 'ghosts', prefix: '_import_gitter_', map: {} },
    '@admin:home.test',
  )
  const mapper = new Mapper({
    people,
    roomId: () => undefined,
    media: () => undefined,
    withMentions: true,
    withMoves: false,
    problem: () => undefined,
  })
  const rows = db.query<SpooledRow, []>('select * from record order by time').all()
  const mapped = rows.map((row) => mapper.map(row, JSON.parse(row.json) as Stamped))
  const [gone, long, large] = mapped
  // The sign may not stand in the ID of a user.
  expect(gone!.records[0]!.sender).toBe(
    '@_import_gitter_ghost=7e5f0000000000000000000009:home.test',
  )
  expect(gone!.records[0]!.content['body']).toContain('https://files.gitter.im/org/room/a.png')
  expect(long!.speakers[0]!.name.length).toBeLessThanOrEqual(256)
  expect(large!.records.map(({ content }) => content['body']).join('')).toBe('x'.repeat(70_000))
  for (const { content } of large!.records)
    expect(JSON.stringify(content).length).toBeLessThan(65_536)
  db.close()
})

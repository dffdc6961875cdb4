import { expect, test } from 'bun:test'
import { ndjson } from '#importers/ndjson/ndjson.ts'
import { exportFolder, itemsOf, linesOf } from '#test/importers/items.ts'

const room = { kind: 'room', id: 'general', name: 'General', topic: 'All', type: 'public' }
const person = { kind: 'person', id: 'u1', username: 'alice', name: 'Alice', email: 'a@b.example' }
const message = {
  kind: 'message',
  room: 'general',
  id: 'm1',
  sender: 'u1',
  time: 1_600_000_000_000,
  body: 'hi **all**',
  html: 'hi <strong>all</strong>',
  reactions: [{ key: '👍', people: ['u2'], count: 3 }],
  files: [{ name: 'a.png', content: { entry: 'files/a.png' }, type: 'image/png', size: 3 }],
  earlier: [{ time: 1_600_000_000_000, body: 'hi' }],
}
const others = [
  { kind: 'reaction', room: 'general', id: 'r1', sender: 'u2', time: 1, target: 'm1', key: '🎉' },
  { kind: 'edit', room: 'general', id: 'e1', sender: 'u1', time: 2, target: 'm1', body: 'ho' },
  { kind: 'deletion', room: 'general', id: 'd1', sender: 'u1', time: 3, target: 'm1' },
  { kind: 'notice', room: 'general', id: 'n1', sender: 'u1', time: 4, about: 'topic', body: 'x' },
  { kind: 'rename', person: 'u1', time: 5, name: 'Alicia', before: 'Alice' },
]

const read = async (lines: readonly (string | object)[]) => {
  const text = lines.map((each) => (typeof each === 'string' ? each : JSON.stringify(each)))
  await using folder = await exportFolder({ 'chat.ndjson': `${text.join('\n')}\n` })
  return await itemsOf(ndjson, folder.path)
}

test('every kind of record is read as it was written, with the place where it stands', async () => {
  const written = [room, person, message, ...others]
  const { items, problems } = await read(written)
  expect(problems).toEqual([])
  expect(items).toHaveLength(written.length)
  for (const [index, item] of items.entries()) {
    if ('room' in item) expect(item.place).toMatchObject({ file: 'chat.ndjson', line: index + 1 })
    expect(item).toMatchObject(written[index]!)
  }
})

test('what a format makes of an export can be read again as it is', async () => {
  const { items } = await read([room, person, message, ...others])
  await using folder = await exportFolder({ 'again.ndjson': linesOf(items) })
  const again = await itemsOf(ndjson, folder.path)
  const bare = (all: readonly object[]) => all.map((each) => ({ ...each, place: undefined }))
  expect(bare(again.items)).toEqual(bare(items))
})

test.each([
  ['{"kind":"message","room":"general"', 'malformed', 'not JSON'],
  ['[1]', 'malformed', 'not a JSON object'],
  [{ kind: 'poll', room: 'general', id: 'p' }, 'unsupported_type', 'poll'],
  [{ ...message, id: 7 }, 'malformed', 'id'],
  [{ ...message, time: 'today' }, 'malformed', 'time'],
  [{ ...message, files: [{ content: {} }] }, 'malformed', 'files'],
  [{ kind: 'room', id: '' }, 'malformed', 'id'],
])('a line that is none is told, and the others are read: %j', async (line, what, reason) => {
  const { items, problems } = await read([room, line, person])
  expect(items.map(({ kind }) => kind)).toEqual(['room', 'person'])
  expect(problems).toMatchObject([{ class: what, place: { line: 2 }, done: 'skipped' }])
  expect(problems[0]!.reason).toContain(reason)
})

const heard = { kind: 'message', room: 'r', id: 'm', sender: 'u', time: 1.6e12 }
const inBytes = (name: string, text: string): Buffer => {
  if (name === 'UTF-16') return Buffer.from(`\uFEFF${text}`, 'utf16le')
  if (name === 'UTF-16, big end first') return Buffer.from(`\uFEFF${text}`, 'utf16le').swap16()
  return Buffer.from(
    name === 'UTF-8 with a mark' ? `\uFEFF${text}` : text,
    name === 'latin-1' ? 'latin1' : 'utf8',
  )
}

test.each([
  ['UTF-8 with a mark', 0],
  ['UTF-16', 0],
  ['UTF-16, big end first', 0],
  ['latin-1', 1],
])('a file in %s keeps its letters', async (name, told) => {
  const text = [
    { ...heard, body: 'früh' },
    { ...heard, id: 'n', body: 'plain' },
  ]
    .map((each) => `${JSON.stringify(each)}\n`)
    .join('')
  await using folder = await exportFolder({ 'a.ndjson': inBytes(name, text) })
  const { items, problems } = await itemsOf(ndjson, folder.path)
  expect(items).toMatchObject([{ body: 'früh' }, { body: 'plain' }])
  // What names no encoding is taken for the likeliest, which is told.
  expect(problems.map((each) => each.class)).toEqual(
    Array.from({ length: told }, () => 'encoding' as const),
  )
})

test('it is recognized by the kind of its first record, and by nothing else', async () => {
  await using ours = await exportFolder({ 'a.ndjson': JSON.stringify(room) })
  await using other = await exportFolder({ 'a.ndjson': '{"type":"version"}' })
  const { openSource } = await import('#importers/source/open.ts')
  const look = async (path: string) => ndjson.recognize(await openSource(path, () => undefined))
  expect(await look(ours.path)).toMatchObject({ sure: 0.9 })
  expect(await look(other.path)).toBeUndefined()
})

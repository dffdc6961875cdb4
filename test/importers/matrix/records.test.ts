import { expect, test } from 'bun:test'
import type { Item, Message, Problem } from '#importers/format.ts'
import { importKey } from '#importers/matrix/content.ts'
import { People, type PeoplePlan } from '#importers/matrix/people.ts'
import { Mapper, type MapperOptions } from '#importers/matrix/records.ts'
import { largestContent, splitText, weightOf } from '#importers/matrix/size.ts'
import { openState } from '#importers/state/database.ts'
import { Ledger } from '#importers/state/ledger.ts'
import { Problems } from '#importers/state/problems.ts'
import { Spool, type Stamped } from '#importers/state/spool.ts'

const time = Date.UTC(2020, 0, 1)
const message = (more: Partial<Message> = {}): Message => ({
  kind: 'message',
  room: 'r',
  id: 'm',
  sender: 'u1',
  time,
  body: 'hello',
  ...more,
})
const people: Item[] = [
  { kind: 'person', id: 'u1', name: 'Alice' },
  { kind: 'person', id: 'u2', name: 'Bob' },
  { kind: 'person', id: 'U2', name: 'Other Bob' },
  { kind: 'person', id: 'Zoë~x', username: 'zoe' },
]

type Options = Partial<MapperOptions> & { plan?: Partial<PeoplePlan>; items?: Item[] }

function mapped(
  item: Stamped,
  { plan = {}, items = [], ...options }: Options = {},
  relations: { thread?: string; target?: string } = {},
) {
  const db = openState(':memory:')
  const spool = new Spool(db, new Problems(db), 0)
  for (const each of [...people, ...items]) spool.add(each)
  spool.flush()
  const problems: Problem[] = []
  const mapper = new Mapper({
    people: new People(
      new Ledger(db),
      { mode: 'ghosts', prefix: '_import_x_', map: {}, ...plan },
      '@admin:home.test',
    ),
    roomId: (id) => (id === 'known' ? '!known:home.test' : undefined),
    media: () => undefined,
    withMentions: true,
    withMoves: false,
    problem: (problem) => problems.push(problem),
    ...options,
  })
  const row = { thread: relations.thread ?? null, target: relations.target ?? null }
  return { ...mapper.map(row, item), problems }
}

const uploaded = (content: { entry: string } | { url: string }) => ({
  mxc: `mxc://home.test/${'entry' in content ? content.entry : 'url'}`,
  type: 'image/png',
  size: 3,
  width: 2,
  height: 1,
  gone: null,
})

test('a message becomes an event of its ghost, with its time and its name in the export', () => {
  const { records, speakers } = mapped(message({ html: 'hel<b>lo</b>', editedAt: time + 5 }))
  expect(records).toEqual([
    {
      src_id: 'r/m',
      type: 'm.room.message',
      sender: '@_import_x_u1:home.test',
      ts: time,
      content: {
        msgtype: 'm.text',
        body: 'hello',
        format: 'org.matrix.custom.html',
        formatted_body: 'hel<b>lo</b>',
        [importKey]: { id: 'm', edited_ts: time + 5 },
      },
    },
  ])
  expect(speakers).toMatchObject([{ userId: '@_import_x_u1:home.test', name: 'Alice' }])
})

test('HTML of an export is made safe, and its names become links', () => {
  const html =
    '<a data-person="u2">@bob</a> <a data-room="known">#k</a> <a data-room="no">#n</a>' +
    '<script>alert(1)</script><img src="https://example.org/x" onerror="x"><a href="javascript:x">j</a>'
  const { records } = mapped(message({ html, mentions: ['u2'] }))
  expect(records[0]!.content).toMatchObject({
    formatted_body:
      '<a href="https://matrix.to/#/%40_import_x_u2%3Ahome.test">@bob</a> ' +
      '<a href="https://matrix.to/#/!known%3Ahome.test">#k</a> <span>#n</span><a>j</a>',
    'm.mentions': { user_ids: ['@_import_x_u2:home.test'] },
  })
})

test('somebody of whom the export tells nothing may be mentioned, and may react', () => {
  const { records } = mapped(
    message({ mentions: ['gone'], reactions: [{ key: '👍', people: ['gone too'] }] }),
  )
  expect(records[0]!.content).toMatchObject({
    'm.mentions': { user_ids: ['@_import_x_gone:home.test'] },
  })
  expect(records[1]).toMatchObject({
    type: 'm.reaction',
    sender: '@_import_x_gone=20too:home.test',
  })
})

test('at the tip of a room nobody is told of a mention of long ago', () => {
  const item = message({ mentions: ['u2'], mentionsRoom: true })
  expect(mapped(item, { withMentions: false }).records[0]!.content).not.toHaveProperty('m.mentions')
})

test('70 KB are several events, of which nothing is lost', () => {
  const body = Array.from({ length: 3000 }, (_, index) => `line ${index} "quoted" 🎉`).join('\n')
  const html = `<p>${body}</p>`
  expect(Buffer.byteLength(body)).toBeGreaterThan(70_000)
  const { records, problems } = mapped(message({ body, html }), {}, { target: 't', thread: 'root' })
  expect(records.length).toBeGreaterThan(1)
  expect(records.map(({ content }) => content['body']).join('')).toBe(body)
  for (const { content } of records) expect(weightOf(content)).toBeLessThanOrEqual(largestContent)
  expect(records.map(({ src_id: id }) => id).slice(0, 2)).toEqual(['r/m', 'r/m#part2'])
  expect(records[0]!.relates).toEqual({ thread: 'r/root', reply: 'r/t' })
  expect(records[1]!.relates).toEqual({ thread: 'r/root' })
  expect(problems).toMatchObject([{ class: 'too_large', done: 'split' }])
})

test.each([
  ['words', 'word '.repeat(5000)],
  ['one word', 'x'.repeat(30_000)],
  ['pairs of halves', '🎉'.repeat(10_000)],
  ['what JSON writes longer', '\u0001'.repeat(9000)],
])('a text is cut between characters: %s', (_, text) => {
  const pieces = splitText(text, 10_000)
  expect(pieces.join('')).toBe(text)
  for (const piece of pieces) {
    expect(weightOf(piece)).toBeLessThanOrEqual(10_000)
    expect(piece.isWellFormed()).toBe(true)
  }
})

test('text that cannot be stored is mended', () => {
  const { records } = mapped(message({ body: 'a\0b\uD800c' }))
  expect(records[0]!.content['body']).toBe('a\uFFFDb\uFFFDc')
})

test('files follow the text; reactions, once for each person, follow them', () => {
  const { records } = mapped(
    message({
      files: [{ name: 'a.png', content: { entry: 'a.png' }, caption: 'look' }],
      reactions: [{ key: '👍', people: ['u1', 'u2', 'u2'], count: 5, time: time + 9 }],
    }),
    { media: uploaded },
    { thread: 'root' },
  )
  expect(records.map(({ src_id: id, relates }) => [id, relates])).toEqual([
    ['r/m', { thread: 'r/root' }],
    ['r/m#file1', { thread: 'r/root' }],
    ['r/m#reaction/👍/u1', { target: 'r/m', rel_type: 'm.annotation', key: '👍' }],
    ['r/m#reaction/👍/u2', { target: 'r/m', rel_type: 'm.annotation', key: '👍' }],
  ])
  expect(records[0]!.content[importKey]).toEqual({ id: 'm', more_reactions: { '👍': 2 } })
  expect(records[1]!.content).toMatchObject({
    msgtype: 'm.image',
    body: 'look',
    filename: 'a.png',
    url: 'mxc://home.test/a.png',
    info: { mimetype: 'image/png', size: 3, w: 2, h: 1 },
  })
})

test('a message that is only a file is the file; one that is gone says so', () => {
  const files = [{ name: 'a.png', content: { url: 'https://files.example/a.png?t=1' } }]
  const only = mapped(message({ body: '', files }), { media: uploaded })
  expect(only.records.map(({ src_id: id, content }) => [id, content['msgtype']])).toEqual([
    ['r/m', 'm.image'],
  ])
  const gone = { mxc: null, type: null, size: null, width: null, height: null, gone: 'it is gone' }
  const lost = mapped(message({ body: '', files }), { media: () => gone })
  expect(lost.records[0]!.content).toMatchObject({
    msgtype: 'm.text',
    body: '[a.png: it is gone] https://files.example/a.png?t=1',
  })
  expect(lost.problems).toMatchObject([{ class: 'media_gone', done: 'degraded' }])
})

test('earlier forms are the message and its edits', () => {
  const { records } = mapped(
    message({
      body: 'third',
      editedAt: time + 20,
      earlier: [
        { body: 'first', time },
        { body: 'second', time: time + 10 },
      ],
    }),
  )
  expect(records.map(({ ts, content, relates }) => [ts, content['body'], relates])).toEqual([
    [time, 'first', undefined],
    [time + 10, '* second', { target: 'r/m', rel_type: 'm.replace' }],
    [time + 20, '* third', { target: 'r/m', rel_type: 'm.replace' }],
  ])
  expect(records[2]!.content['m.new_content']).toMatchObject({ body: 'third' })
})

test('an edit of 70 KB loses nothing', () => {
  const body = 'word '.repeat(15_000)
  const item: Stamped = { kind: 'edit', room: 'r', id: 'e', sender: 'u1', time, target: 'm', body }
  const { records } = mapped(item, {}, { target: 'm' })
  const [first, ...more] = records.map(({ content }) => content)
  const texts = [first!['m.new_content'] as { body: string }, ...more].map((each) => each['body'])
  expect(texts.join('')).toBe(body)
})

test('a deletion redacts; a deleted message that is kept is there and redacted', () => {
  const item: Stamped = { kind: 'deletion', room: 'r', id: 'd', sender: 'u1', time, target: 'm' }
  expect(mapped(item, {}, { target: 'm' }).records).toMatchObject([
    { src_id: 'r/d', type: 'm.room.redaction', relates: { target: 'r/m' } },
  ])
  expect(mapped(message({ deleted: true, body: '' })).records).toMatchObject([
    { src_id: 'r/m', type: 'm.room.message' },
    { src_id: 'r/m#deleted', type: 'm.room.redaction', relates: { target: 'r/m' } },
  ])
})

test('comings and goings are left out unless they are asked for; other notices are notices', () => {
  const notice = (about: 'join' | 'topic'): Stamped => ({
    kind: 'notice',
    room: 'r',
    id: 'n',
    sender: 'u1',
    time,
    about,
    body: 'Alice did it',
  })
  expect(mapped(notice('join'))).toMatchObject({ records: [], problems: [{ done: 'left_out' }] })
  const text = [{ content: { msgtype: 'm.notice', body: 'Alice did it' } }]
  expect(mapped(notice('join'), { withMoves: true })).toMatchObject({ records: text })
  expect(mapped(notice('topic'))).toMatchObject({ records: text })
  // What was pinned is shown by clients with the line that tells of it.
  expect(mapped(notice('topic'), {}, { target: 'm' })).toMatchObject({
    records: [{ relates: { reply: 'r/m' } }],
  })
})

test('names of webhooks and names of then stand on the event', () => {
  const profile = 'com.beeper.per_message_profile'
  const hook = mapped(message({ shownAs: { name: 'CI' } }))
  expect(hook.records[0]!.content).toMatchObject({
    [profile]: { displayname: 'CI' },
    body: 'hello',
  })
  const items: Item[] = [
    { kind: 'rename', person: 'u1', time: time + 1, name: 'Alice', before: 'Alicia' },
  ]
  expect(mapped(message(), { items }).records[0]!.content).toMatchObject({
    [profile]: { displayname: 'Alicia' },
  })
  expect(mapped(message({ time: time + 2 }), { items }).records[0]!.content).not.toHaveProperty(
    profile,
  )
})

test('without ghosts the importer speaks, with a name on each event and in its text', () => {
  const { records, speakers } = mapped(
    message({ reactions: [{ key: '👍', people: ['u2'] }], mentions: ['u2'] }),
    { plan: { mode: 'profile' } },
  )
  expect(records).toHaveLength(1)
  expect(records[0]).toMatchObject({
    sender: '@admin:home.test',
    content: {
      body: 'Alice: hello',
      formatted_body: '<strong data-mx-profile-fallback>Alice: </strong>hello',
      'com.beeper.per_message_profile': { id: 'u1', displayname: 'Alice', has_fallback: true },
      [importKey]: { more_reactions: { '👍': 1 } },
    },
  })
  expect(speakers[0]).toMatchObject({ isGhost: false })
})

test('people are mapped, left out, or given ghosts that differ also where only case does', () => {
  const plan = { map: { u1: '@alice:home.test', u2: 'skip' } }
  expect(mapped(message(), { plan }).records[0]!.sender).toBe('@alice:home.test')
  expect(mapped(message({ sender: 'u2' }), { plan })).toMatchObject({
    records: [],
    problems: [{ class: 'forbidden', done: 'left_out' }],
  })
  expect(mapped(message({ sender: 'Zoë~x' })).records[0]!.sender).toBe(
    '@_import_x_zo=c3=ab=7ex:home.test',
  )
  expect(mapped(message(), { plan: { mode: 'real' } }).records).toEqual([])
  const both = mapped(
    message({
      reactions: [
        { key: 'a', people: ['u2'] },
        { key: 'a', people: ['U2'] },
      ],
    }),
  )
  const [, one, other] = both.records.map(({ sender }) => sender)
  expect(one).toBe('@_import_x_u2:home.test')
  expect(other).toMatch(/^@_import_x_u2-[0-9a-f]{8}:home\.test$/)
})

test('IDs that are too long or cannot be stored are still one for each record', () => {
  const ids = ['x'.repeat(300), `${'x'.repeat(300)}y`, 'a\0b'].map(
    (id) => mapped(message({ id })).records[0]!.src_id,
  )
  expect(new Set(ids).size).toBe(3)
  for (const id of ids) expect(id.length).toBeLessThanOrEqual(255)
})

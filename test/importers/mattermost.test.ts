import { expect, test } from 'bun:test'
import { mattermost } from '#importers/mattermost/mattermost.ts'
import { exportOf, fixture, golden, readExport, recognizeExport } from '#test/importers/exports.ts'

const read = async (name: string) => readExport(mattermost, fixture(`mattermost/${name}`))

test('an ordinary export gives exactly the records of the golden file', async () => {
  const reading = await read('ordinary')
  expect(reading.lines).toEqual(await golden('mattermost/ordinary.golden.ndjson'))
})

test('an export is recognized by its first line, in a folder or alone', async () => {
  const folder = fixture('mattermost/ordinary')
  expect(await recognizeExport(mattermost, folder)).toMatchObject({ sure: 0.95 })
  const alone = `${folder}/import.jsonl`
  expect(await recognizeExport(mattermost, alone)).toMatchObject({ sure: 0.95 })
  const other = await exportOf({
    'a.jsonl': '{"type":"post"}\n{"type":"version"}\n',
    'b.jsonl': '',
  })
  expect(await recognizeExport(mattermost, other)).toBeUndefined()
})

test('posts of one person in one millisecond are told apart, and so again in the next reading', async () => {
  const first = await read('same-moment')
  const ids = first.all('message').map(({ id }) => id)
  expect(ids).toEqual([
    '1600000000123-alice',
    '1600000000123-alice-2',
    '1600000000123-alice-3',
    '1600000000123-bob',
    '1600000000200-alice',
    '1600000000123-alice-4',
  ])
  expect((await read('same-moment')).lines).toEqual(first.lines)
})

test('lists that are null, and fields that older versions did not have, are no fault', async () => {
  const reading = await read('nulls')
  expect(reading.all('message').map(({ body }) => body)).toEqual(['old version'])
  expect(reading.problems).toEqual([])
})

test('replies are in the thread of the post that they stand in', async () => {
  const reading = await read('replies')
  const root = '1600000000100-alice'
  expect(reading.all('message').map(({ body, time, thread }) => [body, time, thread])).toEqual([
    ['root', 1600000000100, undefined],
    ['third', 1600000000300, root],
    ['second', 1600000000200, root],
    ['between', 1600000000250, undefined],
  ])
  expect(reading.trouble).toHaveLength(2)
})

test('system posts tell what happened; posts of plugins that are not known are taken as text', async () => {
  const reading = await read('system')
  expect(reading.all('notice')[0]?.body).toBe('(custom calls)')
  expect(reading.all('notice').map(({ about }) => about)).toEqual([
    'call',
    'topic',
    'leave',
    'name',
    'other',
    'call',
  ])
  expect(reading.all('message').map(({ body }) => body)).toEqual(['from a plugin'])
  expect(reading.trouble).toEqual(['unsupported_type degraded import.jsonl 6-alice'])
})

test('webhooks keep the names they bore, and what is in their boxes', async () => {
  const [hook, boxes, bot, empty] = (await read('webhooks')).all('message')
  expect(hook).toMatchObject({
    form: 'notice',
    shownAs: { name: 'Deploys', avatar: { url: 'https://example.org/i.png' } },
  })
  expect(boxes?.body).toBe(
    'Alert\n> mon\n> CPU (https://mon.example/1)\n> **high** @bob\n> Host: 7\n> https://mon.example/1.png\n> foot\n> only this',
  )
  expect(boxes).toMatchObject({ shownAs: { name: 'Mon' }, mentions: ['bob'] })
  expect(bot).toMatchObject({ sender: 'ci', form: 'notice' })
  expect(empty?.body).toBe('(empty message)')
})

test('names in texts are mentions where they are known, without the point behind them', async () => {
  const [people, channels, table] = (await read('mentions')).all('message')
  expect(people).toMatchObject({ mentions: ['bob', 'carol', 'alice'], mentionsRoom: true })
  expect(people?.html).toBe(
    '<a data-person="bob">@bob</a>. and <a data-person="carol">@carol</a>, @nobody @all a@bob.example <code>@bob</code> @channel! <a data-person="alice">@alice</a>_',
  )
  expect(channels?.html).toBe(
    '<a data-room="t/d">~d</a>, ~nowhere <s>gone</s> <a data-room="t/d">~d</a>~',
  )
  expect(table?.html).toStartWith('<table>')
  expect(table?.html).toEndWith(
    '<p><a href="https://example.org/p.png">pic</a> &lt;b&gt;no&lt;/b&gt;</p>',
  )
})

test('a channel that is not listed becomes one private room', async () => {
  const reading = await read('unlisted')
  const ghosts = reading.all('room').filter(({ id }) => id === 't/ghost')
  expect(ghosts).toEqual([{ kind: 'room', id: 't/ghost', name: 'ghost', type: 'private' }])
  expect(reading.all('message').map(({ room }) => room)).toEqual(['t/ghost', 't/ghost'])
  expect(reading.trouble).toEqual(['malformed degraded import.jsonl'])
})

test('chats between people are known by who is in them, in whatever order, and with oneself too', async () => {
  const reading = await read('self')
  expect(reading.all('room').slice(2)).toEqual([
    { kind: 'room', id: '@alice', topic: 'notes', type: 'direct', members: ['alice'] },
    { kind: 'room', id: '@alice,bob,carol', type: 'direct', members: ['alice', 'bob', 'carol'] },
    { kind: 'room', id: '@bob,carol', type: 'direct', members: ['bob', 'carol'] },
  ])
  expect(reading.all('message').map(({ room }) => room)).toEqual([
    '@alice',
    '@alice,bob,carol',
    '@bob,carol',
  ])
})

test('attachments are found in the folder for them, and those that are not there say so', async () => {
  const [message] = (await read('attachments')).all('message')
  const gone = 'It is not in the export, which may have been made without attachments'
  expect(message?.files?.map(({ name, content, gone }) => [name, content ?? gone])).toEqual([
    ['a.txt', { entry: 'data/20240101/a.txt' }],
    ['gone.txt', gone],
    ['passwd', gone],
    ['file', gone],
    ['b.txt', { entry: 'data/20240101/b.txt' }],
  ])
})

test('lines that are broken, cut off or of wrong types lose nothing else', async () => {
  const reading = await read('broken')
  expect(reading.all('message').map(({ room, body }) => [room, body])).toEqual([
    ['t/c', 'kept'],
    ['__proto__/constructor', '(empty message)'],
    ['t/c', 'far'],
    ['t/c', 'negative'],
  ])
  const skipped = reading.problems.filter(({ done }) => done === 'skipped')
  expect(skipped.map(({ place }) => place.line)).toEqual([8, 11, 12, 13, 14, 15, 16, 20])
})

test('an export whose first line is lost is read when its format is named', async () => {
  const lines = (await Bun.file(fixture('mattermost/ordinary/import.jsonl')).text()).split('\n')
  const folder = await exportOf({ 'import.jsonl': lines.slice(1).join('\n') })
  expect((await readExport(mattermost, folder)).all('message')).toHaveLength(4)
})

test('another version of the format is read, and told', async () => {
  const reading = await read('version-two')
  expect(reading.all('message')).toHaveLength(1)
  expect(reading.trouble).toEqual(['unsupported_type degraded import.jsonl'])
})

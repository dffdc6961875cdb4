import { expect, test } from 'bun:test'
import { exportOf, fixture, golden, readExport, recognizeExport } from '#test/importers/exports.ts'
import type { Files } from '#test/importers/exports.ts'
import { zulip } from '#importers/zulip/zulip.ts'

/** The organization of the fixtures, with the messages of one of them or those given. */
const read = async (...messages: (string | Files)[]) =>
  readExport(zulip, await exportOf('zulip/realm', ...messages))

test('an ordinary export gives exactly the records of the golden file', async () => {
  const reading = await read('zulip/ordinary')
  expect(reading.lines).toEqual(await golden('zulip/ordinary.golden.ndjson'))
})

test('an export is recognized by its realm and messages, also below a folder', async () => {
  const whole = await exportOf('zulip/realm', 'zulip/ordinary')
  expect(await recognizeExport(zulip, whole)).toMatchObject({ sure: 0.95 })
  expect(await recognizeExport(zulip, fixture('zulip'))).toMatchObject({ sure: 0.95 })
  expect(await recognizeExport(zulip, await exportOf('zulip/realm'))).toBeUndefined()
  expect(await recognizeExport(zulip, await exportOf('zulip/ordinary'))).toBeUndefined()
})

test('everything may stand below a folder, as it does in the archive', async () => {
  const parts = ['realm.json', 'uploads/2/0a/xyz/a-b.png', 'avatars/records.json']
  const files: Files = {}
  for (const name of parts)
    files[`zulip-export-1/${name}`] = await Bun.file(fixture(`zulip/realm/${name}`)).text()
  const messages = 'messages-000001.json'
  files[`zulip-export-1/${messages}`] = await Bun.file(fixture(`zulip/ordinary/${messages}`)).text()
  const reading = await readExport(zulip, await exportOf(files))
  const entry = 'zulip-export-1/uploads/2/0a/xyz/a-b.png'
  expect(reading.message('101').files).toEqual([{ name: 'a b.png', content: { entry } }])
})

test('a topic is a thread from its earliest message on, which names it; no topic is no thread', async () => {
  const reading = await read('zulip/topics')
  expect(reading.all('message').map(({ id, body, thread }) => [id, body, thread])).toEqual([
    ['203', 'Moved\nlate ID, early time', undefined],
    ['201', 'first by ID', '203'],
    ['202', 'no topic at all', undefined],
    ['204', 'no topic by name', undefined],
    ['205', 'single\nalone', undefined],
    ['206', 'moved\nprivate topic', undefined],
  ])
})

test('files of messages are read by their numbers, partial ones where there is no whole one', async () => {
  const reading = await read('zulip/order')
  expect(reading.all('message').map(({ id }) => id)).toEqual(['310', '311', '301', '312', '320'])
  expect(reading.message('320').thread).toBe('301')
})

test('chats of two are one room, whether they were made in the old way or the new', async () => {
  const reading = await read('zulip/ordinary')
  const rooms = reading.all('room').filter(({ type }) => type === 'direct')
  expect(rooms.map(({ id, members }) => [id, members])).toEqual([
    ['direct:10,11', ['10', '11']],
    ['direct:10,11,12', ['10', '11', '12']],
  ])
  expect(['104', '105', '107'].map((id) => reading.message(id).room)).toEqual(
    Array<string>(3).fill('direct:10,11'),
  )
  expect(reading.message('107').thread).toBeUndefined()
})

test('earlier forms are kept with their times and editors; moves between topics are no edits', async () => {
  const reading = await read('zulip/ordinary')
  expect(reading.message('108')).toMatchObject({
    body: 'edited twice',
    editedAt: 1600000300000,
    earlier: [
      { body: 'first', time: 1600000108250 },
      { body: 'edited once', time: 1600000200000, editor: '11' },
    ],
  })
})

test('reactions come from the tables of the realm, custom emoji by their names', async () => {
  const reading = await read('zulip/ordinary')
  expect(reading.message('100').reactions).toEqual([
    { key: '👍️', people: ['11', '12'] },
    { key: ':corp-logo:', people: ['11'] },
  ])
  expect(reading.message('101').reactions?.map(({ key }) => key)).toEqual([':zulip:', '🇩🇪'])
})

test('mentions are by name where one has it, by number where several do, and silent ones tell nobody', async () => {
  const reading = await read('zulip/markdown')
  expect(reading.message('400')).toMatchObject({
    body: '@all @Bob B @Bob B @Same Name @Same Name @Nobody @devs @devs',
    html: '@all <a data-person="11">@Bob B</a> <a data-person="11">@Bob B</a> @Same Name <a data-person="14">@Same Name</a> @Nobody @devs @devs',
    mentions: ['11', '14'],
    mentionsRoom: true,
  })
})

test.each([
  ['401', '<a data-room="stream:7">#general &gt; a topic</a> #gone &gt; x'],
  ['402', '<blockquote>\n<p>said <em>it</em></p>\n</blockquote>\n<p>answer</p>'],
  ['403', '<details><summary>The end</summary>\n<p>she <strong>wins</strong></p>\n</details>'],
  ['404', '<span data-mx-maths="a&lt;b"><code>a&lt;b</code></span> and'],
  ['404', '<div data-mx-maths="\\int x"><code>\\int x</code></div>'],
  [
    '405',
    '2024-05-06 07:08 UTC snake_case _not italic_ <em>italic</em> <s>gone</s> :corp-logo: &lt;b',
  ],
  ['406', '<td>1</td>'],
  ['407', '<blockquote>\n<blockquote>\n<p>inner</p>\n</blockquote>\n<p>outer</p>\n</blockquote>'],
  ['408', '<pre><code class="language-python">print(\'&lt;\')\n</code></pre>'],
  [
    '409',
    '<a href="https://example.org/i.png">alt</a> <a href="https://example.org">https://example.org</a> [js](',
  ],
])('markdown of message %s has %j', async (id, html) => {
  expect((await read('zulip/markdown')).message(id).html).toContain(html)
})

test('uploads are attached, and a line that was only one is no text', async () => {
  const reading = await read('zulip/uploads')
  const entry = 'uploads/2/0a/xyz/a-b.png'
  expect(reading.message('500')).toMatchObject({
    body: 'look:\nand this here',
    files: [
      { name: 'a b.png', content: { entry } },
      { name: 'a-b.png', content: { entry } },
    ],
  })
  const gone = 'The file is not in the export'
  expect(reading.message('501').files).toEqual([
    { name: 'gone.pdf', gone },
    { name: 'realm.json', gone },
  ])
  expect(reading.message('502')).toMatchObject({ body: '', files: [{ name: 'a-b.png' }] })
  expect(reading.message('503').body).toBe('(empty message)')
})

test('a quote of a message of the same channel is an answer to it', async () => {
  const reading = await read('zulip/replies')
  expect(reading.message('601').replyTo).toBe('600')
  expect(reading.message('602').replyTo).toBeUndefined()
})

test('without a realm nothing can be read, and that is told', async () => {
  const reading = await readExport(zulip, await exportOf('zulip/ordinary'))
  expect(reading.items).toEqual([])
  expect(reading.trouble).toEqual(['malformed skipped messages-000001.json'])
})

test('broken files and rows, and fields of the wrong type, lose nothing else', async () => {
  const good = (id: number) =>
    `{"id": ${id}, "sender": 10, "recipient": 70, "content": "good", "subject": "", "date_sent": 1600000000.5}`
  const reading = await read({
    'messages-000001.json': `{"zerver_message": [${good(1)}, {"id": 2, "content": "bro, ${good(3)}], "zerver_usermessage": []}`,
    'messages-000002.json': `{"zerver_message": [${good(4)}, {"id": 5, "sen`,
    'messages-000003.json': '',
    'messages-000004.json': `{"zerver_usermessage": [{"id": 1}], "zerver_message": [null, 7, {"id": "x"}, {"id": 6, "recipient": 999}, ${good(7)}]}`,
    'messages-000005.json': `{"zerver_message": [
      {"id": 8, "recipient": 70, "sender": "__proto__", "content": {"a": 1}, "subject": "__proto__", "date_sent": "soon", "edit_history": "{broken", "__proto__": 1},
      {"id": 9, "recipient": 70, "sender": null, "content": "@**constructor** #**__proto__**", "subject": "constructor", "date_sent": 1e300, "edit_history": "[1, {\\"prev_content\\": 3}, {\\"prev_content\\": \\"p\\", \\"timestamp\\": \\"x\\"}]"}
    ]}`,
  })
  const ids = reading.all('message').map(({ id }) => id)
  expect(ids).toEqual(['1', '3', '4', '7', '8', '9'])
  expect(reading.message('8')).toMatchObject({ sender: '__proto__', body: '__proto__' })
  expect(reading.message('8').time).toBeNaN()
  expect(reading.message('9')).toMatchObject({ sender: 'unknown', time: 1e303 })
  const troubled = new Set(reading.problems.map(({ place }) => place.file[14]))
  expect(troubled).toEqual(new Set(['1', '2', '3', '4']))
})

test('a realm that was cut off still gives what stands before', async () => {
  const whole = await Bun.file(fixture('zulip/realm/realm.json')).text()
  const cut = whole.slice(0, whole.indexOf('"Carol C"'))
  const messages = await Bun.file(fixture('zulip/ordinary/messages-000001.json')).text()
  const reading = await read({ 'realm.json': cut, 'messages-000001.json': messages })
  expect(reading.all('person').map(({ id }) => id)).toEqual(['10', '11'])
  // Nobody can say where these were sent.
  expect(reading.all('message')).toEqual([])
  expect(reading.trouble).toContain('malformed skipped messages-000001.json 100')
})

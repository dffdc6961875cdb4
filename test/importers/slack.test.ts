import { expect, test } from 'bun:test'
import { slack } from '#importers/slack/slack.ts'
import { exportOf, golden, readExport, recognizeExport } from '#test/importers/exports.ts'
import type { Files } from '#test/importers/exports.ts'

/** The workspace of the fixtures, with the days of one of them or those given. */
const read = async (...days: (string | Files)[]) =>
  readExport(slack, await exportOf('slack/workspace', ...days))

const said = (ts: string, text: string, more: object = {}) => ({
  type: 'message',
  user: 'U01A',
  ts,
  text,
  ...more,
})

test('an ordinary export gives exactly the records of the golden file', async () => {
  const reading = await read('slack/ordinary')
  expect(reading.lines).toEqual(await golden('slack/ordinary.golden.ndjson'))
})

test('reading the same export again gives the same records', async () => {
  const [first, again] = await Promise.all([read('slack/ordinary'), read('slack/ordinary')])
  expect(again.lines).toEqual(first.lines)
})

test('an export is recognized by its lists and days, and nothing else is', async () => {
  const whole = await recognizeExport(slack, await exportOf('slack/workspace', 'slack/ordinary'))
  expect(whole).toMatchObject({ sure: 0.95, why: expect.stringContaining('channels.json') })
  expect(await recognizeExport(slack, await exportOf('slack/grid'))).toMatchObject({ sure: 0.95 })
  expect(await recognizeExport(slack, await exportOf({ 'users.json': [] }))).toBeUndefined()
  expect(await recognizeExport(slack, await exportOf({ 'a.json': {} }))).toBeUndefined()
})

test('times come from the ts to the microsecond, IDs stay strings and are unique per conversation only', async () => {
  const { items } = await read('slack/ties')
  const messages = items.filter((item) => item.kind === 'message')
  expect(messages.map(({ room, id, time }) => [room, id, time])).toEqual([
    ['C01A', '1500000100.123900', 1500000100123.9],
    ['C01A', '1500000100.123000', 1500000100123],
    ['C01A', '1500000101.000000', 1500000101000],
    ['G01A', '1500000101.000000', 1500000101000],
  ])
})

test('a reply that was sent days later is in the thread of its root', async () => {
  const reading = await read('slack/thread-over-days')
  expect(reading.message('1499990000.000100').thread).toBeUndefined()
  expect(reading.message('1500100000.000100').thread).toBe('1499990000.000100')
})

test('the deleted root of a thread is kept as deleted, with its replies', async () => {
  const reading = await read('slack/deleted-parent')
  expect(reading.message('1500000100.000100')).toMatchObject({ deleted: true })
  expect(reading.message('1500000101.000100').thread).toBe('1500000100.000100')
})

test('messages without a user are those of their bot, by the name it bore in each', async () => {
  const reading = await read('slack/no-user')
  expect(reading.all('message').map(({ sender, shownAs }) => [sender, shownAs?.name])).toEqual([
    ['B02A', undefined],
    ['B02A', 'Deploys of Friday'],
    ['name:webhook', undefined],
    ['unknown', undefined],
    ['U01D', 'CI nightly'],
  ])
  expect(
    reading
      .all('person')
      .filter(({ bot }) => bot)
      .map(({ id, name }) => [id, name]),
  ).toEqual([
    ['U01D', 'CI'],
    ['B02A', 'Deploys'],
    ['name:webhook', 'webhook'],
  ])
})

test('rows of a user that never was are left out, and told', async () => {
  const reading = await read('slack/phantom-rows')
  expect(reading.all('message').map(({ body }) => body)).toEqual(['real'])
  expect(reading.trouble).toEqual([
    'unsupported_type left_out general/2017-07-14.json 1500000100.000100',
  ])
})

test('people of other workspaces are known by what their messages tell of them', async () => {
  const reading = await read('slack/strangers')
  expect(reading.all('person').find(({ id }) => id === 'U99X')).toMatchObject({ name: 'dora' })
  const second = reading.message('1500000101.000100')
  expect(second.body).toBe('hello @dora and @U97X')
  expect(second.mentions).toEqual(['U99X', 'U97X'])
})

test('tokens become mentions, rooms, groups, dates and links', async () => {
  const messages = (await read('slack/tokens')).all('message')
  expect(messages[0]).toMatchObject({
    body: '@ali @gone #general #C77X @channel @everyone @here',
    mentions: ['U01A', 'U77X'],
    mentionsRoom: true,
  })
  expect(messages[0]?.html).toContain('<a data-room="C01A">#general</a>')
  expect(messages[1]?.body).toBe('@devs @S02 Posted 2014-02-18 2014-02-18T14:39:42.000Z')
  expect(messages[2]?.html).toBe(
    '<a href="https://example.org/?a=1&amp;b=2">a &lt;b&gt;</a> <a href="https://example.org/x">https://example.org/x</a> <a href="mailto:a@example.org">a@example.org</a> js',
  )
  expect(messages[3]).toMatchObject({ body: '&lt; stays < and <unclosed' })
})

test.each([
  ['2*3*4 snake_case_name a~b~c', undefined],
  ['*bold _both_* ~gone~.', '<strong>bold <em>both</em></strong> <del>gone</del>.'],
  ['* not bold * and *open', undefined],
  ['`*code*` (*b*)', '<code>*code*</code> (<strong>b</strong>)'],
  ['*a\nb* c', undefined],
  ['&gt; one\nplain', '<blockquote>one</blockquote><p>plain</p>'],
  ['a\n&gt;&gt;&gt; rest\nof it', '<p>a</p><blockquote>rest<br>of it</blockquote>'],
  ['```open fence', undefined],
  ['```a &lt; *b*```', '<pre><code>a &lt; *b*</code></pre>'],
  ['*über* _été_', '<strong>über</strong> <em>été</em>'],
  ['*_~a~_*', '<strong><em><del>a</del></em></strong>'],
])('mrkdwn %j', async (text, html) => {
  const reading = await read({ 'general/2017-07-14.json': [said('1.000100', text)] })
  expect(reading.message('1.000100').html).toBe(html!)
})

test('a text of marks that never end is read at once', async () => {
  const text = '*a _b ~c `d <e '.repeat(4000)
  const reading = await read({ 'general/2017-07-14.json': [said('1.000100', text)] })
  expect(reading.message('1.000100')).toMatchObject({ body: text })
})

test('blocks go before the text, and the text stays where blocks say nothing', async () => {
  const [styled, list, call] = (await read('slack/blocks')).all('message')
  expect(styled?.html).toBe(
    '<strong>a &lt; b &amp; c </strong><em><del>it</del></em> <code>x*y</code><br><a data-person="U01B">@Bob Real</a> in <a data-room="C01A">#general</a> 👋🏼:corp-logo: @here<a href="https://example.org/">site</a>@S01Feb 18#ff0000',
  )
  expect(styled).toMatchObject({ mentions: ['U01B'], mentionsRoom: true })
  expect(list?.html).toBe(
    '<p>List:</p><ul><li>one</li><li><p>two</p><ol start="3"><li>two three</li></ol></li><li>three</li></ul><blockquote>said</blockquote><pre><code class="language-js">let a = \'&lt;b&gt;\'</code></pre>',
  )
  expect(call?.body).toBe('text is used')
})

test('what bots say in blocks and attachments alone is read; previews of links are not', async () => {
  const [blocks, boxes, preview, shared, buttons] = (await read('slack/bot-boxes')).all('message')
  expect(blocks?.body).toBe(
    'Build 7\nfailed on main (https://ci.example.org/7)\nby @ali\n*plain*\n---\ntook 3 min\ngraph (https://x.example/graph.png)',
  )
  expect(boxes?.body).toBe(
    'Alert\n> mon\n> CPU (https://mon.example/1)\n> high\n> Host: a1 & a2\n> https://mon.example/1.png\n> monitor\n> only a fallback',
  )
  expect(preview?.body).toBe('see https://example.org/post')
  expect(shared?.body).toEndWith('\n> Bob\n> what Bob said')
  expect(buttons?.body).toBe('(empty message)')
})

test('reactions keep who reacted, how many more there were, skin tones and custom names', async () => {
  const reading = await read('slack/reactions')
  expect(reading.message('1500000100.000100').reactions).toEqual([
    { key: '\u2764\uFE0F', people: ['U01A', 'U01B'], count: 5 },
    { key: ':corp-logo:', people: ['U01B'] },
    { key: '\u{1F44B}\u{1F3FF}', people: ['U01A'] },
    { key: ':__proto__:', people: ['U01A'] },
  ])
  // What happened has no list of reactions: they stand beside it.
  expect(reading.all('reaction')).toMatchObject([{ target: '1500000101.000100', sender: 'U01A' }])
})

test('files that are gone say why, and those that were elsewhere are links', async () => {
  const [message] = (await read('slack/files')).all('message')
  expect(message?.html).toBe('<a href="https://docs.example.org/plan">Plan</a>')
  expect(message?.files?.map(({ name, gone, content }) => [name, gone ?? content])).toEqual([
    ['F1A', 'The file was deleted'],
    ['F1B', 'The file was hidden by the limit of a free workspace'],
    ['x.pdf', 'Who exported had no access to the file'],
    ['y.pdf', 'Slack did not find the file'],
    ['snippet.py', { url: 'https://files.example.org/snippet.py' }],
    ['huge.bin', { url: 'https://files.example.org/huge.bin' }],
    ['../../etc/passwd', 'The export does not say where the file is'],
  ])
  // Numbers that no file has are left out.
  expect(message?.files?.[5]).not.toHaveProperty('size')
})

test('files of old exports stand alone, and comments on them are by who commented', async () => {
  const [shared, comment] = (await read('slack/old-files')).all('message')
  expect(shared).toMatchObject({ body: 'mine b', files: [{ name: 'a.png', type: 'image/png' }] })
  expect(comment).toMatchObject({ sender: 'U01B', body: 'nice\n> a.png' })
  expect(comment).not.toHaveProperty('files')
})

test('files that were downloaded beside the export are taken from there', async () => {
  const [message] = (await read('slack/slackdump')).all('message')
  expect(message?.files?.[0]?.content).toEqual({ entry: 'general/attachments/F2A-note.txt' })
})

test('what is not known is taken as text and told, and what is no message is told', async () => {
  const reading = await read('slack/unknown-subtype')
  expect(reading.all('message').map(({ body }) => body)).toEqual(['from the future'])
  expect(reading.trouble).toEqual([
    'unsupported_type degraded general/2017-07-14.json 1500000100.000100',
    'malformed skipped general/2017-07-14.json 1500000101.000100',
  ])
})

test('what happened without a word is told by its kind', async () => {
  const huddle = said('1.000100', '', { subtype: 'huddle_thread', room: { id: 'R1' } })
  const room = said('2.000100', '', { subtype: 'sh_room_created' })
  const reading = await read({ 'general/2017-07-14.json': [huddle, room] })
  expect(reading.all('notice').map(({ about, body }) => [about, body])).toEqual([
    ['call', '(Huddle thread)'],
    ['call', '(Room created)'],
  ])
})

test('every subtype is what it was: something that happened, or something that was said', async () => {
  const reading = await read('slack/subtypes')
  expect(reading.all('notice').map(({ about, body }) => [about, body.slice(0, 30)])).toEqual([
    ['join', '@Bob Real has joined the channe'.slice(0, 30)],
    ['leave', '@Bob Real has left the channel'],
    ['name', '@ali has renamed the channel f'],
    ['topic', '@ali set the channel topic: Al'],
    ['topic', '@ali set the channel purpose: '],
    ['other', '@ali archived the channel'],
    ['other', '@ali un-archived the channel'],
    ['join', '@Bob Real has joined the group'],
    ['leave', '@Bob Real has left the group'],
    ['name', '@ali has renamed the group'],
    ['topic', '@ali set the group topic: t'],
    ['topic', '@ali set the group purpose: p'],
    ['other', '@ali archived the group'],
    ['other', 'added an integration to this c'],
    ['other', 'removed an integration from th'],
    ['pin', '@ali pinned a message to this '],
    ['other', '@ali set a reminder to “stand '],
    ['call', '(Room created)'],
    ['call', 'A huddle happened'],
  ])
  const root = '1500000116.000100'
  expect(reading.all('notice').flatMap(({ replyTo }) => replyTo ?? [])).toEqual([root])
  expect(
    reading.all('message').map(({ body, form, thread, deleted }) => [body, form, thread, deleted]),
  ).toEqual([
    ['waves', 'emote', undefined, undefined],
    // Who sent it to the channel too said it once.
    ['also in the channel', undefined, root, undefined],
    ['an old broadcast', undefined, root, undefined],
    ['by a bot', 'notice', undefined, undefined],
    ['This message was deleted.', undefined, undefined, true],
    ['a reply to what is gone', undefined, '1500000123.000100', undefined],
  ])
  // Canvases and flags are no chat.
  expect(reading.problems).toEqual([])
})

test('a folder in no list becomes a private room', async () => {
  const reading = await read('slack/stray-folder')
  expect(reading.all('room').at(-1)).toMatchObject({ id: 'never-listed', type: 'private' })
  expect(reading.message('1500000100.000100').room).toBe('never-listed')
})

test('workspaces of an enterprise keep rooms of the same name apart, and shared ones together', async () => {
  const reading = await readExport(slack, await exportOf('slack/grid'))
  expect(reading.all('room').map(({ id, name }) => [id, name])).toEqual([
    ['C10A', 'general'],
    ['C10S', 'shared'],
    ['C20A', 'general'],
  ])
  expect(reading.all('message').map(({ room, body }) => [room, body])).toEqual([
    ['C10A', 'north @Walt'],
    ['C20A', 'south'],
    ['C10S', 'both'],
  ])
})

test('a broken record, day or list loses nothing else', async () => {
  const good = (ts: string) => JSON.stringify(said(ts, 'good'))
  const reading = await read({
    'general/2017-07-14.json': `[${good('1.1')}, {"type":"message","ts":"1.2","text":"bro, ${good('1.3')}]`,
    'general/2017-07-15.json': `[${good('2.1')}, ${good('2.2')}, {"type":"mess`,
    'general/2017-07-16.json': '',
    'general/2017-07-17.json': 'null',
    'general/2017-07-18.json': `[null, 7, "x", [], {}, ${good('3.1')}]`,
    'general/2017-07-19.json': Uint8Array.from([
      ...Buffer.from(`[${good('4.1').replace('good', 'gr')}`),
      0xfc,
      0xdf,
      0x5d,
    ]),
    'general/2017-07-20.json': `[${good('5.1')}]`,
    'groups.json': '{"not":"a list"',
  })
  const ids = reading.all('message').map(({ id }) => id)
  for (const id of ['1.1', '1.3', '2.1', '2.2', '3.1', '4.1', '5.1']) expect(ids).toContain(id)
  const files = new Set(reading.problems.map(({ place }) => place.file.slice(-7, -5)))
  for (const day of ['14', '15', '16', '17', '18', '19']) expect(files).toContain(day)
  expect(reading.trouble).toContainEqual(expect.stringContaining('groups.json'))
})

test('fields of the wrong type, huge numbers and names of JavaScript do no harm', async () => {
  const reading = await read({
    'general/2017-07-14.json': `[
      {"type":"message","user":"__proto__","ts":"1.1","text":"a","__proto__":{"x":1},"constructor":"y"},
      {"type":"message","user":{},"ts":"2.1","text":[1],"files":{"a":1},"reactions":"no","blocks":[null,{"type":7}],"attachments":[3]},
      {"type":"message","user":"U01A","ts":99999999999999999999,"text":"late"},
      {"type":"message","user":"U01A","ts":"99999999999999.1","text":"far"},
      {"type":"message","user":"U01A","ts":"-5","text":"before"},
      {"type":"message","subtype":"constructor","user":"U01A","ts":"6.1","text":"<@constructor> <#__proto__>"},
      {"type":"message","user":"U01A","ts":"7.1","text":"last","thread_ts":1e400,"edited":{"ts":"x"}}
    ]`,
  })
  const messages = reading.all('message')
  expect(messages.map(({ id }) => id)).toEqual([
    '1.1',
    '2.1',
    '99999999999999.1',
    '-5',
    '6.1',
    '7.1',
  ])
  expect(messages[0]?.sender).toBe('__proto__')
  // Times that are none are told behind the format, which knows what a time may be.
  expect(messages.slice(2, 4).map(({ time }) => time)).toEqual([Number.NaN, Number.NaN])
  expect(messages[5]).toBeDefined()
  expect(messages[5]).not.toHaveProperty('editedAt')
})

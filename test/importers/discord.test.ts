import { expect, test } from 'bun:test'
import { discord } from '#importers/discord/discord.ts'
import { exportOf, fixture, golden, readExport, recognizeExport } from '#test/importers/exports.ts'

const read = async (name: string) => readExport(discord, fixture(`discord/${name}`))

/** IDs of the fixtures. */
const id = (at: number) => `10000000000000000${String(at).padStart(2, '0')}`

const channel = { id: '200', type: 'GuildTextChat', name: 'general' }
const exported = (messages: unknown[], more: object = {}) => ({
  guild: { id: '100', name: 'Guild' },
  channel: { ...channel, ...more },
  messages,
  messageCount: messages.length,
})
const said = (content: string, more: object = {}) => ({
  id: id(1),
  type: 'Default',
  timestamp: '2022-07-22T11:22:59+00:00',
  content,
  author: { id: '10', name: 'alice' },
  mentions: [{ id: '11', name: 'bob', nickname: 'Bob B' }],
  ...more,
})

test('an ordinary export gives exactly the records of the golden file', async () => {
  const reading = await read('ordinary')
  expect(reading.lines).toEqual(await golden('discord/ordinary.golden.ndjson'))
})

test('an export is recognized by how its files begin, and other JSON is not', async () => {
  expect(await recognizeExport(discord, fixture('discord/ordinary'))).toMatchObject({ sure: 0.95 })
  const file = fixture('discord/killed/general.json')
  expect(await recognizeExport(discord, file)).toMatchObject({ sure: 0.95 })
  const other = await exportOf({
    'a.json': { guild: 'g' },
    'b.json': '\u0000',
    'c.txt': '{"guild":{',
  })
  expect(await recognizeExport(discord, other)).toBeUndefined()
})

test('names that an export with formatted texts wrote are found again by its mentions', async () => {
  const [first, second] = (await read('formatted')).all('message')
  expect(first?.html).toBe(
    '<a data-person="10">@Ali</a> and <a data-person="11">@Bob B</a>, see #rules at @mods :blob: @nobody',
  )
  expect(second).toMatchObject({ body: '@everyone look', mentionsRoom: true })
})

test.each([
  ['__under__ **bold** *it* _it_', '<u>under</u> <strong>bold</strong> <em>it</em> <em>it</em>'],
  ['> quoted\nplain', '<blockquote>\n<p>quoted</p>\n</blockquote>\n<p>plain</p>'],
  ['>no quote', undefined],
  ['>>> rest\nof it', '<blockquote>\n<p>rest<br>\nof it</p>\n</blockquote>'],
  [
    'a ```js\n<b>``` b',
    '<p>a</p>\n<pre><code class="language-js">&lt;b&gt;\n</code></pre>\n<p>b</p>',
  ],
  ['an open ``` fence', undefined],
  [
    '||a **b** <@11>||',
    '<span data-mx-spoiler="">a <strong>b</strong> <a data-person="11">@Bob B</a></span>',
  ],
  ['|| open || ||', '<span data-mx-spoiler=""> open </span> ||'],
  ['`<@11>`', '<code>&lt;@11&gt;</code>'],
  ['\\*no\\* <script>', '*no* &lt;script&gt;'],
  ['[x](javascript:alert(1))', undefined],
  ['| a |\n|---|\n| b |', undefined],
])('markdown %j', async (text, html) => {
  const reading = await readExport(discord, await exportOf({ 'a.json': exported([said(text)]) }))
  const found = reading.message(id(1)).html
  if (html !== undefined) expect(found).toBe(html)
  else expect(found?.replace(/<br>\n?/g, '\n') ?? 'plain').not.toMatch(/<(?!\/?p>)/)
})

test('tokens become mentions, roles, channels, emoji, dates and commands', async () => {
  const message = (await read('markdown')).message(id(2))
  expect(message.body).toBe(
    '@Bob B @99 @mod @2 #general #404 :dance: 2022-07-22 11:22 UTC /ban customize',
  )
  expect(message.html).toStartWith(
    '<a data-person="11">@Bob B</a> <a data-person="99">@99</a> @mod @2 <a data-room="200">#general</a>',
  )
  expect(message.mentions).toEqual(['11', '99'])
})

test('a text of marks that never end is read at once', async () => {
  const text = '|| ``` <@ @ ** __ ~~ '.repeat(2000)
  const reading = await readExport(discord, await exportOf({ 'a.json': exported([said(text)]) }))
  expect(reading.message(id(1)).body).toBe(text)
})

test('partitions are read in the order of their numbers, as one channel', async () => {
  const reading = await read('partitions')
  expect(reading.all('room')).toHaveLength(1)
  expect(reading.all('message').map(({ body }) => body)).toEqual(['one', 'two', 'ten'])
})

test('a thread hangs from its message, the line that told of it, its own first message, or a line made for it', async () => {
  const ordinary = await read('ordinary')
  expect(ordinary.message(id(8))).toMatchObject({ room: '200', thread: id(2) })
  // The copy of the first message at the head of a thread is none.
  expect(ordinary.all('message').filter((each) => each.id === id(7))).toEqual([])

  const reading = await read('threads')
  expect(reading.message(id(11))).toMatchObject({ room: '200', thread: id(1) })
  expect(reading.message('1000000000000000103')).toMatchObject({
    room: '300',
    body: 'A post\nthe post',
  })
  expect(reading.message('1000000000000000103').thread).toBeUndefined()
  expect(reading.message(id(13))).toMatchObject({ room: '300', thread: '1000000000000000103' })
  expect(reading.message(id(12))).toMatchObject({ room: '200', thread: '1000000000000000102' })
  expect(reading.all('notice').at(-1)).toMatchObject({
    id: '1000000000000000102',
    body: 'Thread: from nowhere',
    time: 1658488979101,
  })
  expect(reading.all('room').map((room) => [room.id, room.name])).toEqual([
    ['300', 'ideas'],
    ['200', 'general'],
  ])
})

test('a forum post that was exported newest first still begins with its first message', async () => {
  const thread = { id: '1000000000000000103', type: 'GuildPublicThread', categoryId: '300' }
  const messages = [said('later', { id: id(50) }), said('the post', { id: thread.id })]
  const reading = await readExport(
    discord,
    await exportOf({ 'a.json': exported(messages, thread) }),
  )
  expect(reading.message(id(50)).thread).toBe(thread.id)
  expect(reading.message(thread.id).thread).toBeUndefined()
  expect(reading.all('notice')).toEqual([])
})

test('files are found beside the export, whatever system it was made on, and never outside of it', async () => {
  const [message] = (await read('media')).all('message')
  expect(message?.files?.map(({ name, content, gone }) => [name, content ?? gone])).toEqual([
    ['a.png', { entry: 'sub/general.json_Files/a-1.png' }],
    ['b c.png', { entry: 'sub/general.json_Files/b c-2.png' }],
    ['passwd', 'The export refers to ../../../etc/passwd, which is not in it'],
    ['x.bin', { url: 'https://cdn.example.org/x.bin?ex=1' }],
    ['gone.png', 'The export refers to general.json_Files/gone.png, which is not in it'],
    ['file', 'The export does not say where the file is'],
    ['Lot.json', 'The export refers to general.json_Files/lot.json, which is not in it'],
  ])
  // Without a type: what they are is seen from their bytes. And no file has a size of 1e300.
  expect(message?.files?.[0]).not.toHaveProperty('type')
  expect(message?.files?.[3]).not.toHaveProperty('size')
})

test('webhooks and bots keep the names that they bore, what their boxes say, and who called them', async () => {
  const reading = await read('webhooks')
  expect(reading.message(id(1)).shownAs).toBeUndefined()
  expect(reading.message(id(2)).shownAs).toEqual({ name: 'Other name' })
  expect(reading.message(id(3)).body).toBe(
    '> CI (https://ci.example.org)\n> Release (https://example.org/r)\n> **v2** by @11\n> Size: `3`\n> https://example.org/i.png\n> foot',
  )
  // The box of a link that somebody posted is only a preview.
  expect(reading.message(id(4)).body).toBe('https://example.org/page look')
  expect(reading.message(id(5)).body).toBe('@Bob B used /roll\nresult')
  expect(reading.all('person').find(({ removed }) => removed)?.name).toBe('Deleted User')
})

test('what happened is told apart from what was said; types of tomorrow are taken as text, and told', async () => {
  const reading = await read('types')
  expect(reading.all('notice').map(({ about, body }) => [about, body])).toEqual([
    ['other', 'Boosted the server.'],
    ['call', 'Started a call that lasted 5 minutes.'],
    ['join', 'Added somebody to the group.'],
    ['name', 'Changed the channel name: new'],
  ])
  expect(reading.message(id(2)).body).toBe('text of tomorrow')
  expect(reading.all('reaction')).toMatchObject([{ target: id(6), key: '🎉', sender: '10' }])
  expect(reading.trouble.filter((line) => line.startsWith('unsupported_type'))).toHaveLength(3)
})

test('every type that the exporter has a name for is told by its kind, in its own words', async () => {
  const reading = await read('system')
  expect(reading.all('notice').map(({ about, body }) => [about, body])).toEqual([
    ['join', 'Added Bob to the group.'],
    ['leave', 'Removed Bob from the group.'],
    ['call', 'Started a call that lasted 5 minutes.'],
    ['name', 'Changed the channel name: talk'],
    ['other', 'Changed the channel icon.'],
    ['pin', 'Pinned a message.'],
    ['join', 'Joined the server.'],
    ['other', 'Started a thread.'],
  ])
  expect(reading.all('notice')[5]?.replyTo).toBe(id(1))
  expect(reading.all('message').map(({ body, replyTo }) => [body, replyTo])).toEqual([
    ['hello', undefined],
    ['hi', id(1)],
    ['blocked by AutoMod', undefined],
    ['@Bob used /roll\nused a command', undefined],
  ])
  expect(reading.problems).toEqual([])
})

test.each(['GuildPublicThread', 'GuildPrivateThread', 'GuildNewsThread', '11'])(
  'a channel of type %s is a thread of the channel that its category names',
  async (type) => {
    const thread = { id: '1000000000000000103', type, categoryId: '200', category: 'general' }
    const reading = await readExport(
      discord,
      await exportOf({
        'a.json': exported([said('root', { id: thread.id })]),
        'b.json': exported([said('in it', { id: id(50) })], thread),
      }),
    )
    expect(reading.message(id(50))).toMatchObject({ room: '200', thread: thread.id })
  },
)

test('forwarded messages are quoted, and answers to other rooms are none', async () => {
  const reading = await read('forwarded')
  expect(reading.message(id(1))).toMatchObject({ body: 'Forwarded:\n> old *news*' })
  expect(reading.message(id(1)).files?.[0]?.name).toBe('f.png')
  for (const at of [1, 2, 3]) expect(reading.message(id(at)).replyTo).toBeUndefined()
})

test('direct chats and groups are direct rooms without a name', async () => {
  const rooms = (await read('direct')).all('room')
  expect(rooms).toEqual([
    { kind: 'room', id: '900', type: 'direct' },
    { kind: 'room', id: '901', type: 'direct' },
  ])
})

test('an export that was killed gives all that it has, and says so', async () => {
  const reading = await read('killed')
  expect(reading.all('message').map(({ body }) => body)).toEqual(['one', 'two'])
  expect(reading.trouble).toEqual([
    'malformed skipped general.json',
    'malformed degraded general.json',
  ])
})

test('times have their offset, and a message without one that of its ID', async () => {
  const reading = await read('times')
  expect(reading.message('1000000000000000001').time).toBe(1658488979101)
  expect(reading.message('3').time).toBeNaN()
  expect(reading.message('4').time).toBe(Date.UTC(2022, 6, 23, 11, 0, 0, 250))
  expect(reading.trouble).toEqual(['bad_time degraded general.json 1000000000000000001'])
})

test('broken files and records, and fields of the wrong type, lose nothing else', async () => {
  const good = JSON.stringify(exported([said('good')]))
  const folder = await exportOf({
    'a [20100].json':
      '{"guild": {"id": "1"}, "channel": {"id": "20100"}, "messages": [{"id": "1", "content": "x", {"id": "2", "content": "kept"}], "messageCount": 2}',
    'b.json': 'not json',
    'c.json': '[]',
    'd.json': good,
    'e [20500].json':
      '{"guild":{}, "channel": 7, "messages": [7, null, {"id":"5"}, {"id":{}}, {"id":"6","author":"x","reactions":[{"emoji":3,"users":5}],"attachments":[1,{}],"embeds":{"a":1},"timestamp":12,"__proto__":{"z":1},"type":["x"]}], "messageCount": 5}',
    'f.json':
      '{"guild":{"id":"1"},"channel":{"id":"__proto__","type":"constructor","name":"p"},"messages":[{"id":"constructor","type":"constructor","content":"<@__proto__> @constructor"}],"messageCount":1}',
  })
  const reading = await readExport(discord, folder)
  const found = reading.all('message').map((message) => `${message.room} ${message.id}`)
  expect(found).toContain('200 1000000000000000001')
  expect(found).toContain('20100 2')
  expect(found).toContain('20500 5')
  expect(found).toContain('20500 6')
  expect(found).toContain('__proto__ constructor')
  const troubled = new Set(reading.problems.map(({ place }) => place.file[0]))
  expect(troubled).toEqual(new Set(['a', 'b', 'c', 'e', 'f']))
})

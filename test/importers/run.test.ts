import { expect, test } from 'bun:test'
import { plan } from '#importers/commands/plan.ts'
import { report, status, undo } from '#importers/commands/sessions.ts'
import { verify } from '#importers/commands/verify.ts'
import { readPlan } from '#importers/plan/plan.ts'
import { FakeServer } from '#test/importers/fake-server.ts'
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

test('a plan says what goes where and why, and a run does it, and again changes nothing', async () => {
  await using it = await prepared(lines(30))
  expect(it.planned).toBe(0)
  expect(await readPlan(it.planPath)).toMatchObject({
    export: { format: 'ndjson', source: 'ndjson' },
    rooms: [{ from: 'general', to: 'create', mode: 'fresh', messages: 30 }],
  })
  expect(await it.run()).toBe(0)
  expect(it.server.texts(roomId)).toEqual(texts(30))
  expect(it.server.people.get('@_import_ndjson_u1:home.test')).toMatchObject({
    displayname: 'User 1',
  })
  const asked = it.server.asked.length
  expect(await it.run()).toBe(0)
  expect(it.server.texts(roomId)).toEqual(texts(30))
  expect(it.server.asked.slice(asked).filter((each) => !each.startsWith('GET'))).toEqual([])
})

test('a plan names direct chats by who is in them, and has lines ready for a map of people', async () => {
  const odd = { kind: 'person', id: 'u0', name: 'Al\n[server]\u007F $& "ice"', email: 'a@x.org' }
  const room = { kind: 'room', id: 'general', type: 'direct', members: ['u0', 'u1', 'stranger'] }
  await using it = await prepared(`${JSON.stringify(odd)}\n${JSON.stringify(room)}\n${lines(4)}`)
  const text = await Bun.file(it.planPath).text()
  expect(text).toContain('\n# "u0" = "ghost" # Al [server]  $& "ice", a@x.org, 2 records\n')
  const { rooms } = await readPlan(it.planPath)
  expect(rooms[0]!.name).toBe('Al\n[server]\u007F $& "ice", User 1, stranger')
  // A line is a part of the map as soon as its sign is gone.
  await Bun.write(it.planPath, text.replaceAll('# "u', '"u'))
  const { people: planned } = await readPlan(it.planPath)
  expect(planned.map).toEqual({ u0: 'ghost', u1: 'ghost', u2: 'ghost' })
})

test('a rehearsal tells what a run would tell, and writes nothing to the server', async () => {
  await using it = await prepared(
    line(0, { files: [{ name: 'a', content: { entry: 'gone.png' } }] }) +
      line(1, { replyTo: 'no' }),
  )
  const console = quiet()
  expect(await it.run({ dryRun: true }, console)).toBe(0)
  expect(it.server.asked.filter((each) => !each.startsWith('GET'))).toEqual([])
  const told = console.told.map(
    (each) => JSON.parse(each) as { event: string; problems?: object[] },
  )
  expect(told.find(({ event }) => event === 'report')!.problems).toEqual([
    { class: 'media_gone', done: 'degraded', count: 1 },
    { class: 'missing_parent', done: 'degraded', count: 1 },
  ])
})

test('what cannot be imported is told with its place, and the rest goes in: exit code 3', async () => {
  await using it = await prepared(`${line(0)}not json\n${line(1, { body: 'refuse me' })}${line(2)}`)
  expect(await it.run()).toBe(3)
  expect(it.server.texts(roomId)).toEqual(['text 0', 'text 2'])
  const console = quiet()
  expect(await report(it.planPath, console)).toBe(3)
  expect(console.told.map((each) => JSON.parse(each) as unknown)).toMatchObject([
    { class: 'malformed', place: { file: 'chat.ndjson', line: 5 } },
    { class: 'forbidden', reason: 'Not that', place: { line: 6 }, room: 'general', id: 'm1' },
  ])
  const html = await Bun.file(it.planPath.replace('.toml', '.state/report.html')).text()
  expect(html).toMatch(
    /<td>chat\.ndjson<\/td><td class="n">6<\/td>.*<td>general<\/td><td><code>m1<\/code><\/td><td>Not that<\/td>/,
  )
  // What was lost stands before what only lacks something, with what can be done about it.
  expect(html).toContain('download it again and run the same command')
})

test('--max-skips stops before more is lost', async () => {
  await using it = await prepared(`x\ny\nz\n${line(0)}`)
  const stopped = await it.run({ maxSkips: 2, restart: true }).catch((error: unknown) => error)
  expect(String(stopped)).toContain('--max-skips')
  expect(it.server.sessions.size).toBe(0)
})

test('who may not import is told so before anything is read', async () => {
  await using it = await prepared(lines(3))
  it.server.onRequest = (_, path) =>
    path.startsWith('/_laneway/import')
      ? { status: 403, body: { errcode: 'M_FORBIDDEN', error: 'You may not' } }
      : undefined
  // Reading it would say that it is not there.
  await Bun.$`rm -r ${it.exportPath}`.quiet()
  const refused = await it.run().catch((error: unknown) => error)
  expect(String(refused)).toContain('You may not')
})

test('answers that are lost and servers that are busy change nothing', async () => {
  await using it = await prepared(lines(50))
  const seen = new Map<string, number>()
  it.server.onRequest = (method, path) => {
    const count = (seen.get(`${method} ${path}`) ?? 0) + 1
    seen.set(`${method} ${path}`, count)
    if (count === 1 && method !== 'GET') return 'lost'
    if (count === 2 && method === 'PUT')
      return { status: 429, body: { errcode: 'M_LIMIT_EXCEEDED', retry_after_ms: 1 } }
    return undefined
  }
  expect(await it.run()).toBe(0)
  expect(it.server.rooms.size).toBe(1)
  expect(it.server.texts(roomId)).toEqual(texts(50))
})

test('stopped between two batches, it goes on where it was', async () => {
  const long = 'x'.repeat(40_000)
  const many = Array.from({ length: 300 }, (_, id) => line(id, { html: long })).join('')
  await using it = await prepared(many)
  const console = quiet()
  it.server.onRequest = (method) => {
    if (method === 'PUT') console.finishing.abort()
    return undefined
  }
  const stopped = await it.run({}, console).catch((error: unknown) => error)
  expect(String(stopped)).toContain('goes on')
  const [session] = it.server.sessions.values()
  expect(session).toMatchObject({ state: 'open' })
  expect(session!.next_batch).toBeGreaterThan(0)
  expect(session!.accepted).toBeLessThan(300)
  it.server.onRequest = undefined
  expect(await it.run()).toBe(0)
  expect(it.server.texts(roomId)).toEqual(texts(300))
  expect(session).toMatchObject({ accepted: 300, duplicates: 0 })
})

test('--rooms, --since and --until choose; what was left out comes later', async () => {
  await using it = await prepared(lines(10) + line(10, { room: 'other', body: 'elsewhere' }))
  await it.run({ rooms: 'gen*', since: start + 3000, until: start + 6000 })
  expect(it.server.rooms.size).toBe(1)
  expect(it.server.texts(roomId)).toEqual(['text 3', 'text 4', 'text 5'])
  await it.run()
  expect(it.server.texts(roomId)).toEqual(texts(10))
  expect(it.server.rooms.size).toBe(2)
})

test('two rooms of an export may go into one room, in which both read in order', async () => {
  const second = Array.from({ length: 5 }, (_, id) =>
    line(id, { room: 'other', time: start + id * 1000 + 500, body: `other ${id}` }),
  )
  await using it = await prepared(lines(5) + second.join(''))
  it.server.rooms.set('!both:home.test', { events: [], creation: {} })
  const text = await Bun.file(it.planPath).text()
  await Bun.write(it.planPath, text.replaceAll('"create"', '"!both:home.test"'))
  expect(await it.run({ jobs: 4 })).toBe(0)
  expect(it.server.texts('!both:home.test')).toEqual(
    texts(5).flatMap((body, id) => [body, `other ${id}`]),
  )
})

test('files are brought once, with their names and types; too large ones are told', async () => {
  const file = (name: string) => ({ files: [{ name, content: { entry: `files/${name}` } }] })
  const png = Buffer.from(
    'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==',
    'base64',
  )
  await using it = await prepared(
    line(0, file('a b.png')) + line(1, file('copy.png')) + line(2, file('large.txt')),
    {
      'export/files/a b.png': png,
      'export/files/copy.png': png,
      'export/files/large.txt': 'x'.repeat(1001),
    },
  )
  expect(await it.run()).toBe(0)
  expect(it.server.uploads).toMatchObject([{ type: 'image/png' }])
  const { events } = it.server.rooms.get(roomId)!
  const shown = events.map(({ content }) => [content['msgtype'], content['url'] ?? content['body']])
  expect(shown).toEqual([
    ['m.text', 'text 0'],
    ['m.image', 'mxc://home.test/1'],
    ['m.text', 'text 1'],
    ['m.image', 'mxc://home.test/1'],
    ['m.text', 'text 2'],
    ['m.text', '[large.txt: it is larger than the 1000 bytes that the server takes]'],
  ])
})

test('without files there are lines that say so, which is no fault and can be verified', async () => {
  const content = { entry: 'a.txt' }
  await using it = await prepared(line(0, { body: '', files: [{ name: 'a.txt', content }] }), {
    'export/a.txt': 'text',
  })
  expect(await it.run({ media: false })).toBe(0)
  expect(it.server.uploads).toEqual([])
  expect(it.server.texts(roomId)).toEqual(['[a.txt: files were not to be imported]'])
  const check = { ...access, plan: it.planPath, sample: 1 }
  expect(await verify(undefined, check, quiet())).toBe(0)
  // They are not lost for a later import.
  await undo(undefined, { ...access, plan: it.planPath, all: true }, quiet())
  expect(await it.run()).toBe(0)
  expect(it.server.uploads).toMatchObject([{ name: 'a.txt' }])
  expect(await verify(undefined, check, quiet())).toBe(0)
})

test('files at addresses within private networks are not fetched unless it is said', async () => {
  await using it = await prepared('')
  const content = { url: `${it.server.url}/_matrix/client/v1/media/config` }
  await Bun.write(it.file, people + line(0, { body: '', files: [{ name: 'a', content }] }))
  const console = quiet()
  await plan(
    it.exportPath,
    { ...access, server: it.server.url, out: it.planPath, format: 'auto', force: true },
    console,
  )
  expect(await it.run()).toBe(0)
  expect(it.server.texts(roomId)[0]).toContain('private network')
  expect(it.server.uploads).toEqual([])
})

test('a link that leads to a page to log in with is told, and the page is not taken for the file', async () => {
  using elsewhere = Bun.serve({
    port: 0,
    hostname: '127.0.0.1',
    fetch(request) {
      const { pathname } = new URL(request.url)
      if (pathname === '/a.png') return Response.redirect('/login', 302)
      if (pathname === '/gone.png') return new Response('', { status: 404 })
      return new Response('<html>', { headers: { 'content-type': 'text/html; charset=utf-8' } })
    },
  })
  const file = (name: string) => ({
    body: '',
    files: [{ name, content: { url: `http://127.0.0.1:${elsewhere.port}/${name}` } }],
  })
  await using it = await prepared(
    line(0, file('a.png')) + line(1, file('gone.png')) + line(2, file('page.html')) + line(3),
  )
  expect(await it.run({ privateHosts: true })).toBe(0)
  const [expired, gone, page, next] = it.server.texts(roomId)
  expect(expired).toContain('answers with a page instead: the link may have expired')
  expect(gone).toContain('answers 404')
  expect([page, next]).toEqual(['page.html', 'text 3'])
  expect(it.server.uploads).toMatchObject([{ name: 'page.html' }])
})

test('verify finds everything in place, and what is lost, moved or changed', async () => {
  await using it = await prepared(
    Array.from({ length: 250 }, (_, id) =>
      line(id, id % 10 > 5 ? { thread: `m${id - (id % 10)}` } : {}),
    ).join(''),
  )
  await it.run()
  const look = async () => {
    const console = quiet()
    const code = await verify(undefined, { ...access, plan: it.planPath, sample: 5 }, console)
    return { code, told: console.told.join('\n') }
  }
  expect(await look()).toMatchObject({ code: 0, told: expect.stringContaining('All is there') })
  const { events } = it.server.rooms.get(roomId)!
  const whole = [...events]
  const faults: [string, () => void][] = [
    ['Missing', () => events.splice(100, 1)],
    ['Missing where it should be', () => events.splice(100, 2, events[101]!, events[100]!)],
    [
      'otherwise than it was sent',
      () => (events[7] = { ...events[7]!, sender: '@other:home.test' }),
    ],
    ['Read twice', () => events.splice(50, 0, events[49]!)],
    ['in no thread', () => (events[8] = { ...events[8]!, content: { body: 'text 8' } })],
  ]
  for (const [what, spoil] of faults) {
    spoil()
    expect(await look()).toMatchObject({ code: 3, told: expect.stringContaining(what) })
    events.splice(0, events.length, ...whole)
  }
})

test('the room as another server reads it: what is missing there, and what is out of order', async () => {
  await using it = await prepared(lines(250))
  await it.run()
  await using elsewhere = new FakeServer()
  const { events } = it.server.rooms.get(roomId)!
  const look = async (read: typeof events) => {
    elsewhere.rooms.set(roomId, { events: read, creation: {} })
    const console = quiet()
    const code = await verify(
      undefined,
      { ...access, plan: it.planPath, sample: 1, fromServer: elsewhere.url, readerToken: 'theirs' },
      console,
    )
    type Told = { missing?: number; outOfOrder?: number; differing?: number; text: string }
    const told = console.told.map(
      (each) => JSON.parse(each) as Told & { found_hash?: string; expected_hash?: string },
    )
    const { missing, outOfOrder, differing, ...hashes } = told.find(
      ({ missing: gaps }) => gaps !== undefined,
    )!
    const isSame = hashes.found_hash === hashes.expected_hash
    const text = told.map((each) => each.text).join('\n')
    return { code, missing, outOfOrder, differing, isSame, text }
  }
  const good = { code: 0, missing: 0, outOfOrder: 0, differing: 0, isSame: true }
  const bad = { ...good, code: 3, isSame: false }
  expect(await look(events)).toMatchObject(good)
  const gone = expect.stringContaining(`It is missing there: ${events[5]!.event_id}`)
  expect(await look(events.slice(100))).toMatchObject({ ...bad, missing: 100, text: gone })
  // Both ways.
  const swapped = [...events.slice(0, 9), events[10]!, events[9]!, ...events.slice(11)]
  expect(await look(swapped)).toMatchObject({ ...bad, outOfOrder: 2 })
  const other = { ...events[7]!, content: { ...events[7]!.content, body: 'never said' } }
  const changed = [...events.slice(0, 7), other, ...events.slice(8)]
  expect(await look(changed)).toMatchObject({ ...bad, differing: 1 })
  const twice = [...events.slice(0, 9), ...events.slice(8)]
  expect(await look(twice)).toMatchObject({ code: 3, differing: 1 })
})

test('undo takes a session back, and it can be imported again', async () => {
  await using it = await prepared(lines(5))
  await it.run()
  const refused = await undo(undefined, { ...access, plan: it.planPath }, quiet()).catch(String)
  expect(refused).toContain('--all')
  expect(await undo('s0', { ...access, plan: it.planPath }, quiet())).toBe(0)
  expect(it.server.texts(roomId)).toEqual([])
  expect(await it.run()).toBe(0)
  expect(it.server.texts(roomId)).toEqual(texts(5))
  const console = quiet()
  expect(await status(undefined, { ...access, plan: it.planPath }, console)).toBe(0)
  expect(console.told.map((each) => JSON.parse(each) as unknown)).toMatchObject([
    { session_id: 's0', state: 'undone' },
    { session_id: 's1', state: 'committed', accepted: 5 },
  ])
})

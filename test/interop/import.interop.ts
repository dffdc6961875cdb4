import './silent-log.ts'
import { afterAll, beforeAll, expect, test } from 'bun:test'
import { mkdir } from 'node:fs/promises'
import { RoomEvent } from 'matrix-js-sdk'
import type { Login } from '../laneway.ts'
import { until } from '../until.ts'
import { Neighbours, stateOf, texts, textsOf, untilThere } from './neighbours.ts'
import * as chat from './old-chat.ts'
import { Person } from './person.ts'

/**
 * History that is imported into rooms in which a real Synapse is: what its users read of it, and when. A
 * Synapse orders by depth, and what is equally deep by when it came; another Laneway by what cites what.
 */
let all: Neighbours
/** Root and Ann live where the history comes in, Bob and Dan on the Synapse, Eve on another Laneway. */
let root: Login, ann: Login, bob: Login, dan: Login, eve: Login

beforeAll(async () => {
  all = await Neighbours.open()
  root = all.root
  ;[ann, bob, dan, eve] = await Promise.all([
    all.home.register('ann'),
    all.guest('bob'),
    all.guest('dan'),
    all.away.register('eve'),
  ])
})

afterAll(() => all?.close())

type Ids = { [text: string]: string }
type Story = { version: string; count: number; wish: (ids: Ids) => Wish; expected: string }
type Wish = { mode: string; position?: object }

/** `H` stands for what was imported. */
const places: { [place: string]: Story } = {
  'at the start': {
    version: '10',
    count: 12,
    wish: () => ({ mode: 'insert', position: { at_start: true } }),
    expected: 'H a b c d e',
  },
  'before a message': {
    version: '11',
    // More than a Synapse asks for at once.
    count: 110,
    wish: ({ d }) => ({ mode: 'insert', position: { before: d } }),
    expected: 'a b c H d e',
  },
  'after a message': {
    version: '12',
    count: 12,
    wish: ({ a }) => ({ mode: 'insert', position: { after: a } }),
    expected: 'a H b c d e',
  },
  'behind all of them': {
    version: '12',
    count: 30,
    wish: () => ({ mode: 'append' }),
    expected: 'a b c d H e',
  },
}

for (const [place, story] of Object.entries(places))
  test(`history ${place} is read there on Synapse: by who was there, who had scrolled back, who comes after`, () =>
    Promise.all([
      wasThere(story, false),
      wasThere({ ...story, count: Math.min(story.count, 30) }, true),
      comesAfter(story),
    ]))

test('a fresh room, with a member on Synapse and without', async () => {
  const fresh = { version: '11', count: 30, wish: () => ({ mode: 'fresh' }), expected: 'H e' }
  await Promise.all([wasThere(fresh, false), comesAfter(fresh)])
})

/** Bob is in the room before its history, and has read all that there was, or not; Dan comes after it. */
async function wasThere(story: Story, scrolls: boolean): Promise<void> {
  const roomId = await all.room({ room_version: story.version }, ann)
  const ids = await talk(story, roomId, ['a', 'b'])
  await all.join(bob, roomId)
  Object.assign(ids, await talk(story, roomId, ['c', 'd']))
  if (ids['d'] !== undefined) await untilThere(bob, roomId, ids['d'])
  if (scrolls) expect(await textsOf(bob, roomId)).toEqual(['a', 'b', 'c', 'd'])
  const { since } = await news(bob, roomId)
  const last = await bringIn(story, roomId, ids)
  await untilThere(bob, roomId, last)
  // Nothing old is shown as new.
  const { said } = await news(bob, roomId, since)
  expect(said.at(-1)).toBe('e')
  expect(said.filter((each) => each.startsWith('h'))).toEqual([])
  await reads(bob, roomId, story)
  await all.join(dan, roomId)
  await reads(dan, roomId, story)
  await agrees(roomId)
}

/** Nobody of the Synapse is in the room before its history. */
async function comesAfter(story: Story): Promise<void> {
  const roomId = await all.room({ room_version: story.version }, ann)
  const ids = await talk(story, roomId, ['a', 'b', 'c', 'd'])
  await bringIn(story, roomId, ids)
  await all.join(bob, roomId)
  await reads(bob, roomId, story)
  await agrees(roomId)
}

async function talk({ expected }: Story, roomId: string, said: readonly string[]): Promise<Ids> {
  const ids: Ids = {}
  for (const text of said)
    if (expected.includes(text)) ids[text] = await all.say(root, roomId, text)
  return ids
}

/** Imports, and says something after; its ID. Of the state nothing else changes. */
async function bringIn({ count, wish }: Story, roomId: string, ids: Ids): Promise<string> {
  const before = await stateOf(root, roomId)
  const session = await chat.stage(root, all.home, { room_id: roomId, count, ...wish(ids) })
  await chat.end(root, session, 'commit')
  const after = await stateOf(root, roomId)
  const own = [...after.keys()].filter((key) => after.get(key) !== before.get(key))
  expect(own).toEqual([
    ...[0, 1, 2].map((index) => `m.room.member|${chat.ghost(all.home, index)}`),
    `org.matrix.msc2716.marker|${session}`,
  ])
  expect([...before.keys()].filter((key) => !after.has(key))).toEqual([])
  return all.say(root, roomId, 'e')
}

/** Somebody scrolls back, in pages as large as what a Synapse asks for at once, and in small ones. */
async function reads(who: Login, roomId: string, { expected, count }: Story): Promise<void> {
  const wanted = expected.split(' ').flatMap((each) => (each === 'H' ? chat.lines(count) : [each]))
  expect(await textsOf(who, roomId, 'b', 100)).toEqual(wanted)
  expect(await textsOf(who, roomId, 'b', 7)).toEqual(wanted)
  expect(await textsOf(ann, roomId)).toEqual(wanted)
}

/** The state is the same, and one event is at the end of the room. */
async function agrees(roomId: string): Promise<void> {
  expect([...(await stateOf(bob, roomId))]).toEqual([...(await stateOf(root, roomId))])
  expect(await all.ends(roomId)).toEqual({ home: 1, synapse: 1 })
}

type Sync = {
  next_batch: string
  rooms?: { join?: { [roomId: string]: { timeline: { events: Parameters<typeof texts>[0] } } } }
}

/** What a client is told of a room. */
async function news(who: Login, roomId: string, from?: string) {
  const filter = encodeURIComponent(JSON.stringify({ room: { rooms: [roomId] } }))
  const since = from === undefined ? '' : `&since=${from}`
  const sync = await who.get<Sync>(`/_matrix/client/v3/sync?timeout=0&filter=${filter}${since}`)
  const said = texts(sync.rooms?.join?.[roomId]?.timeline.events ?? [])
  return { since: sync.next_batch, said }
}

test('the program asks for --federate, verifies from three servers what it brought, and takes it back everywhere', async () => {
  const content = { history_visibility: 'joined' }
  const visibility = { type: 'm.room.history_visibility', state_key: '', content }
  const roomId = await all.room({ room_version: '10', initial_state: [visibility] }, ann, bob, eve)
  const plan = await oldChat('program', roomId)
  const program = (args: readonly string[], reader?: Login) => chat.importer(root, args, reader)
  await all.say(root, roomId, 'a')
  const b = await all.say(root, roomId, 'b')
  await Promise.all([untilThere(bob, roomId, b), untilThere(eve, roomId, b)])

  const refused = await program(['run', plan, '--mode', 'insert'])
  expect(refused).toMatchObject({ code: 1, told: expect.stringContaining('2 other servers') })
  expect(await textsOf(ann, roomId)).toEqual(['a', 'b'])
  expect(await program(['run', plan, '--mode', 'insert', '--federate'])).toMatchObject({ code: 0 })
  const c = await all.say(root, roomId, 'c')
  await Promise.all([untilThere(bob, roomId, c), untilThere(eve, roomId, c)])
  const old = [...oldTexts, 'a', 'b', 'c']
  expect(await textsOf(ann, roomId)).toEqual(old)
  // Where what was not there goes before what cites it.
  expect(await textsOf(eve, roomId)).toEqual(['a', 'b', ...oldTexts, 'c'])
  // A Synapse on SQLite asks any of the servers, and is content with one that has nothing.
  await until(async () => Bun.deepEquals(await textsOf(bob, roomId), old))

  const verify = ['verify', '--plan', plan, '--full']
  const from = (url: string) => [...verify, '--from-server', url]
  const { clientUrl: synapse } = all.synapse
  for (const [args, reader] of [
    [verify, ann],
    [from(synapse), bob],
    [from(all.away.clientUrl), eve],
  ] as const) {
    const { code, told } = await program(args, reader)
    expect(told).toContain('All is there')
    expect(code).toBe(0)
  }

  // Whoever was not there may not see it, and is told how much is missing.
  await all.join(dan, roomId)
  const lacking = await program(from(synapse), dan)
  expect(lacking.code).toBe(3)
  expect(lacking.told).toContain(`reads 0, ${oldTexts.length + 1} are missing`)
  expect(lacking.told).toContain('It is missing there: $')

  expect(await program(['undo', '--all', '--plan', plan])).toMatchObject({ code: 0 })
  expect(await textsOf(ann, roomId)).toEqual(['a', 'b', 'c'])
  const gone = oldTexts.map(() => '-')
  await until(async () => Bun.deepEquals(await textsOf(bob, roomId), [...gone, 'a', 'b', 'c']))
  await until(async () => Bun.deepEquals(await textsOf(eve, roomId), ['a', 'b', ...gone, 'c']))
  await agrees(roomId)
})

const oldTexts = ['old 0', 'old 1', '* old 1, changed', 'old 2', 'old 3']

/** A chat of long ago and the plan to import it into a room; the plan's file. */
async function oldChat(name: string, roomId: string): Promise<string> {
  const folder = `${all.folder}/${name}`
  await mkdir(`${folder}/export`, { recursive: true })
  const time = Date.UTC(2014, 0, 1)
  const line = (id: number, more: object = {}) => ({
    kind: 'message',
    room: 'c',
    id: `${id}`,
    sender: `u${id % 2}`,
    time: time + id,
    body: `old ${id}`,
    ...more,
  })
  const records = [
    { kind: 'person', id: 'u0', name: 'U' },
    line(0, { reactions: [{ key: '👍', people: ['u1'] }] }),
    line(1, { body: 'old 1, changed', earlier: [{ time: time + 1, body: 'old 1' }] }),
    line(2, { thread: '0' }),
    line(3, { replyTo: '1' }),
  ]
  const text = records.map((record) => JSON.stringify(record)).join('\n')
  await Bun.write(`${folder}/export/chat.ndjson`, text)
  await Bun.write(`${folder}/map.toml`, `[rooms]\nc = "${roomId}"\n`)
  const plan = `${folder}/plan.toml`
  const where = ['--server', all.home.clientUrl, '--map', `${folder}/map.toml`, '--out', plan]
  const { code, told } = await chat.importer(root, ['plan', `${folder}/export`, ...where])
  expect(told).toContain('Users of 2 other servers are in the room')
  expect(code).toBe(0)
  return plan
}

test('two imports at one place read one after the other on Synapse, as here', async () => {
  const roomId = await all.room({ room_version: '11' }, ann, bob)
  await all.say(root, roomId, 'a')
  const before = await all.say(root, roomId, 'b')
  for (const [source, name] of [
    ['one chat', 'g'],
    ['another', 'h'],
  ] as const) {
    const wish = { room_id: roomId, count: 12, mode: 'insert', position: { before } }
    const session = await chat.stage(root, all.home, { ...wish, source, name })
    await chat.end(root, session, 'commit')
  }
  const last = await all.say(root, roomId, 'c')
  const wanted = ['a', ...chat.lines(12, 'g'), ...chat.lines(12), 'b', 'c']
  await untilThere(bob, roomId, last)
  for (const who of [ann, bob]) expect(await textsOf(who, roomId)).toEqual(wanted)
  await all.join(dan, roomId)
  expect(await textsOf(dan, roomId)).toEqual(wanted)
  await agrees(roomId)
})

test('whoever comes after an undoing reads the room without it', async () => {
  const story = places['at the start']!
  const roomId = await all.room({ room_version: '12' }, ann)
  await talk(story, roomId, ['a', 'b', 'c', 'd'])
  const wish = { room_id: roomId, count: 12, mode: 'insert', position: { at_start: true } }
  const session = await chat.stage(root, all.home, wish)
  await chat.end(root, session, 'commit')
  await chat.end(root, session, 'undo')
  await all.say(root, roomId, 'e')
  for (const who of [bob, eve]) {
    await all.join(who, roomId)
    expect(await textsOf(who, roomId)).toEqual(['a', 'b', 'c', 'd', 'e'])
  }
  await agrees(roomId)
})

test('what is said on both servers while history comes in is read on both, and the room has one end', async () => {
  const roomId = await all.room({ room_version: '11' }, ann, bob)
  await all.say(root, roomId, 'a')
  const wish = { room_id: roomId, count: 40, mode: 'insert', position: { at_start: true } }
  const said = { r: ['a'], b: [] as string[] }
  let done = false
  const chatter = async (who: Login, name: 'r' | 'b') => {
    while (!done || said[name].length < 10) {
      const text = `${name}${said[name].length}`
      await all.say(who, roomId, text)
      said[name].push(text)
    }
  }
  const importing = async () => {
    await until(() => said.b.length > 2)
    const session = await chat.stage(root, all.home, wish)
    await chat.end(root, session, 'commit')
    const count = said.b.length
    await until(() => said.b.length > count + 2)
    done = true
  }
  await Promise.all([chatter(root, 'r'), chatter(bob, 'b'), importing()])
  // Each end is said where all before it is known.
  await until(async () => (await textsOf(root, roomId)).includes(said.b.at(-1)!))
  await untilThere(bob, roomId, await all.say(root, roomId, 'r-end'))
  await untilThere(root, roomId, await all.say(bob, roomId, 'b-end'))
  for (const who of [ann, bob]) {
    // A Synapse that can fill a page asks for more behind it: it is there when one scrolls again.
    await until(async () => (await textsOf(who, roomId))[0] === 'h0')
    const read = await textsOf(who, roomId)
    expect(read.slice(0, 40)).toEqual(chat.lines(40))
    expect(read.slice(40).filter((each) => /^[ar]/.test(each))).toEqual([...said.r, 'r-end'])
    expect(read.slice(40).filter((each) => each.startsWith('b'))).toEqual([...said.b, 'b-end'])
    expect(read.slice(-2)).toEqual(['r-end', 'b-end'])
  }
  await agrees(roomId)
})

test('what is said while history comes in behind it all stays before it, on both servers', async () => {
  const roomId = await all.room({ room_version: '10' }, ann, bob)
  await all.say(root, roomId, 'a')
  const session = await chat.stage(root, all.home, { room_id: roomId, count: 12, mode: 'append' })
  for (const text of ['b', 'd'])
    await untilThere(bob, roomId, await all.say(root, roomId, text)).then(async () =>
      untilThere(root, roomId, await all.say(bob, roomId, text === 'b' ? 'c' : 'e')),
    )
  await chat.end(root, session, 'commit')
  const last = await all.say(root, roomId, 'f')
  await untilThere(bob, roomId, last)
  const wanted = ['a', 'b', 'c', 'd', 'e', ...chat.lines(12), 'f']
  expect(await textsOf(ann, roomId)).toEqual(wanted)
  expect(await textsOf(bob, roomId)).toEqual(wanted)
  await agrees(roomId)
})

test('matrix-js-sdk learns of the history by the marker, here and on Synapse, and reads it after a refresh', async () => {
  const people = await Promise.all([
    Person.register(all.home.clientUrl, 'carol', 'interop'),
    Person.register(all.synapse.clientUrl, 'dora', 'interop'),
  ])
  try {
    const roomId = await all.room({ room_version: '11' })
    await all.say(root, roomId, 'a')
    for (const { client, userId } of people) {
      await client.joinRoom(roomId, { viaServers: [all.home.serverName] })
      const member = `/_matrix/client/v3/rooms/${encodeURIComponent(roomId)}/state/m.room.member/${encodeURIComponent(userId)}`
      await until(async () => (await root.request('GET', member)).ok)
    }
    await all.say(root, roomId, 'b')
    for (const person of people) await person.untilMessage(roomId, 'b')
    const marked: string[] = []
    for (const { client, userId } of people)
      client
        .getRoom(roomId)!
        .on(RoomEvent.HistoryImportedWithinTimeline, () => void marked.push(userId))
    const wish = { room_id: roomId, count: 12, mode: 'insert', position: { at_start: true } }
    const session = await chat.stage(root, all.home, wish)
    await chat.end(root, session, 'commit')
    await until(() => marked.length === people.length)
    for (const { client, userId } of people) {
      const room = client.getRoom(roomId)!
      expect(room.getTimelineNeedsRefresh()).toBe(true)
      await room.refreshLiveTimeline()
      const bodies = () =>
        room
          .getLiveTimeline()
          .getEvents()
          .flatMap((event) =>
            event.getType() === 'm.room.message' ? [event.getContent()['body']] : [],
          )
      await until(async () => {
        await client.scrollback(room, 50)
        return bodies().length >= 14
      })
      expect([userId, bodies()]).toEqual([userId, [...chat.lines(12), 'a', 'b']])
      expect(room.getTimelineNeedsRefresh()).toBe(false)
    }
  } finally {
    for (const person of people) person.stop()
  }
})

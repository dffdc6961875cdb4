import { beforeEach, describe, expect, test } from 'bun:test'
import { testDatabase } from '#test/database.ts'
import type { StoryRoom } from '#test/engine/read/story.ts'
import { until } from '#test/until.ts'
import { Bridging, openListener, registered } from './bridging.ts'

const db = await testDatabase()
const [one, other] = [openListener(), openListener()]
const irc = registered('irc', one.url, {
  namespaces: {
    users: [{ regex: '@_irc_.*', exclusive: true }],
    aliases: [{ regex: '#irc_.*', exclusive: true }],
    rooms: [{ regex: '!logged', exclusive: false }],
  },
})
const sms = registered('sms', other.url)
const bridging = await Bridging.open(db, [irc, sms])
const { home } = bridging
const alice = await home.person('alice')
const bob = await home.person('bob')
const ghost = await bridging.ghost(irc, 'ghost')
const phone = await bridging.ghost(sms, 'phone')

beforeEach(() => {
  one.take = other.take = () => Response.json({})
})

let count = 0
/** Says something that an application service is certain to get, and waits until it has it. */
async function heard(listener: typeof one, room: StoryRoom, by = alice.userId): Promise<void> {
  const mark = `mark ${++count}`
  await room.send(by, mark)
  await until(() => listener.texts.includes(mark))
}

const textsOf = (listener: typeof one, room: StoryRoom): string[] =>
  listener.events
    .filter((event) => event['room_id'] === room.roomId && event['type'] === 'm.room.message')
    .map((event) => event['content'].body as string)
    .filter((text) => !text.startsWith('mark'))

describe('what interests an application service', () => {
  test('is what happens while a user of it is in the room, in order, and nothing else', async () => {
    const room = await home.story.room(alice.userId)
    await room.send(alice.userId, 'before')
    await room.member(ghost, 'join')
    await room.send(alice.userId, 'one')
    await room.send(ghost, 'two')
    await room.member(bob.userId, 'join')
    await room.send(bob.userId, 'three')
    await room.member(ghost, 'leave')
    await room.send(bob.userId, 'after')
    const marks = await home.story.room(alice.userId)
    await marks.member(ghost, 'join')
    await heard(one, marks)
    await bridging.followed()
    const events = one.events.filter((event) => event['room_id'] === room.roomId)
    expect(
      events.map(({ type, state_key: key, content }) =>
        type === 'm.room.member' ? `${content.membership} ${key}` : content.body,
      ),
    ).toEqual([`join ${ghost}`, 'one', 'two', `join ${bob.userId}`, 'three', `leave ${ghost}`])
    expect(other.events.filter((event) => event['room_id'] === room.roomId)).toEqual([])
  })

  test('is what happens to a user of it who is not in the room', async () => {
    const room = await home.story.room(alice.userId)
    await room.state(alice.userId, 'm.room.name', '', { name: 'Den' })
    await room.member(ghost, 'invite', { by: alice.userId })
    await room.send(alice.userId, 'unseen')
    await until(() => one.events.some((event) => event['room_id'] === room.roomId))
    const [invite] = one.events.filter((event) => event['room_id'] === room.roomId)
    expect(invite).toMatchObject({
      type: 'm.room.member',
      state_key: ghost,
      sender: alice.userId,
      content: { membership: 'invite' },
    })
    const shown = invite!['unsigned'].invite_room_state as { type: string; content: object }[]
    expect(shown).toContainEqual(
      expect.objectContaining({ type: 'm.room.name', content: { name: 'Den' } }),
    )
    expect(textsOf(one, room)).toEqual([])
  })

  test('is what happens in rooms that it names, by ID or by alias, whoever is there', async () => {
    const logged = await home.story.room(alice.userId, {
      roomId: '!logged:here.example',
      version: '10',
    })
    const named = await home.story.room(alice.userId)
    await named.send(alice.userId, 'unnamed')
    await bridging.followed()
    await db.pool`
      insert into room_aliases (alias, room_id, creator, created_at)
      values ('#irc_room:here.example', ${named.roomId}, ${alice.userId}, 0)`
    await named.send(alice.userId, 'named')
    await logged.send(bob.userId, 'logged')
    await until(() => textsOf(one, logged).length > 0 && textsOf(one, named).length > 0)
    expect(textsOf(one, named)).toEqual(['named'])
    expect(textsOf(one, logged)).toEqual(['logged'])
  })

  test('comes to each of several, each of its own', async () => {
    const both = await home.story.room(ghost)
    await both.member(phone, 'join')
    const own = await home.story.room(phone)
    await both.send(ghost, 'both')
    await own.send(phone, 'own')
    await until(() => textsOf(one, both).length > 0 && textsOf(other, own).length > 0)
    await until(() => textsOf(other, both).length > 0)
    expect(textsOf(one, own)).toEqual([])
  })

  test('is told with what was before it', async () => {
    const room = await home.story.room(ghost)
    await room.state(ghost, 'm.room.topic', '', { topic: 'old' })
    const { eventId } = await room.state(ghost, 'm.room.topic', '', { topic: 'new' })
    await until(() => one.events.some((event) => event['event_id'] === eventId))
    const event = one.events.find((each) => each['event_id'] === eventId)!
    expect(event['unsigned'].prev_content).toEqual({ topic: 'old' })
    expect(event).toMatchObject({ room_id: room.roomId, state_key: '', sender: ghost })
  })
})

describe('a transaction', () => {
  test('is repeated letter by letter until it is taken, and what follows waits for it', async () => {
    const room = await home.story.room(ghost)
    await heard(one, room, ghost)
    const before = one.transactions.length
    let refused = 0
    one.take = () => (++refused <= 3 ? new Response('no', { status: 500 }) : Response.json({}))
    await room.send(ghost, 'kept')
    await until(() => one.transactions.length > before)
    await room.send(ghost, 'follows')
    await bridging.later(() => textsOf(one, room).includes('follows'))
    const sent = one.transactions.slice(before)
    const [first] = sent
    expect(sent.filter(({ txnId }) => txnId === first!.txnId).map(({ text }) => text)).toEqual(
      Array.from({ length: 4 }, () => first!.text),
    )
    expect(sent.slice(0, 4).every(({ txnId }) => txnId === first!.txnId)).toBe(true)
    expect(textsOf(one, room)).toEqual(['kept', 'follows'])
  })

  test('is repeated by the next run, which leaves one alone that failed before', async () => {
    const room = await home.story.room(ghost)
    await heard(one, room, ghost)
    const before = one.transactions.length
    one.take = () => new Response('no', { status: 503 })
    await room.send(ghost, 'over')
    await until(() => one.transactions.length > before)
    await until(async () => {
      const [row] = await db.pool<{ failures: number }[]>`
        select failures from appservices where id = 'irc'`
      return row!.failures > 0
    })
    const sent = one.transactions.at(-1)!
    await bridging.restart()
    await room.send(ghost, 'more')
    await bridging.followed()
    const [row] = await db.pool<{ retry_at: number }[]>`
      select retry_at from appservices where id = 'irc'`
    expect(row!.retry_at).toBeGreaterThan(home.now)
    // Its clock stands still: nothing is sent before its time.
    const count = one.transactions.length
    one.take = () => Response.json({})
    await bridging.later(() => textsOf(one, room).includes('more'))
    expect(one.transactions[count]).toEqual(sent)
    expect(textsOf(one, room)).toEqual(['over', 'more'])
  })

  test('has a hundred events at most', async () => {
    const room = await home.story.room(ghost)
    await heard(one, room, ghost)
    const held = Promise.withResolvers<Response>()
    const before = one.transactions.length
    one.take = () => held.promise
    await room.send(ghost, 'held')
    await until(() => one.transactions.length > before)
    for (let index = 0; index < 130; index++) await room.send(ghost, `${index}`)
    await bridging.followed()
    one.take = () => Response.json({})
    held.resolve(Response.json({}))
    await until(() => textsOf(one, room).includes('129'))
    expect(textsOf(one, room)).toEqual([
      'held',
      ...Array.from({ length: 130 }, (_, index) => `${index}`),
    ])
    expect(Math.max(...one.transactions.map(({ body }) => body.events.length))).toBe(100)
  })

  test('that hangs delays nobody else', async () => {
    const held = Promise.withResolvers<Response>()
    one.take = () => held.promise
    const room = await home.story.room(ghost)
    await room.member(phone, 'join')
    await room.send(ghost, 'to both')
    await until(() => textsOf(other, room).includes('to both'))
    await room.send(ghost, 'again')
    await until(() => textsOf(other, room).includes('again'))
    expect(bridging.bridges.counts.find(({ id }) => id === 'irc')!.waiting).toBeGreaterThan(0)
    held.resolve(Response.json({}))
    one.take = () => Response.json({})
    await until(() => textsOf(one, room).includes('again'))
  })
})

import { afterEach, beforeEach, describe, expect, test } from 'bun:test'
import type { Json } from '#core/json.ts'
import * as transactions from '#api/server-server/transactions.ts'
import type { InboxEntry } from '#engine/worker/protocol.ts'
import { MadeUpRoom, MadeUpServer } from '#test/builders.ts'
import { testDatabase } from '#test/database.ts'
import { until } from '#test/until.ts'
import { plant, uproot } from './plant.ts'
import { Stage } from './stage.ts'

const db = await testDatabase()
const peer = new MadeUpServer('peer.test')
const other = new MadeUpServer('other.test')
const alice = peer.user('alice')
let stage: Stage
let room: MadeUpRoom

beforeEach(async () => {
  await uproot(db.pool, 'inbox', 'inbound_txns')
  room = MadeUpRoom.create('11', alice, peer, other)
  stage = await Stage.open(db.pool, Object.values(transactions), [peer, other])
})
afterEach(() => stage.close())

type Wish = { edus?: Json[]; txnId?: string; from?: MadeUpServer }
const send = (pdus: readonly string[], { from = peer, ...wish }: Wish = {}) =>
  stage.send(from, pdus, wish)
const inbox = () => stage.inbox()

describe('a flood', () => {
  const open = async (limits: Parameters<typeof Stage.open>[3]) => {
    await stage.close()
    stage = await Stage.open(db.pool, Object.values(transactions), [peer, other], limits)
    await plant(db.pool, stage.snapshots, room)
  }
  const insert = (count: number) => db.pool`
    insert into inbox (shard, room_id, origin, json, received_at)
    select 1, ${room.roomId}, 'peer.test', '{}', 1 from generate_series(1, ${count}::integer)`
  /** As many events of the room that wait already, once they are counted. */
  const wait = async (count: number) => {
    await insert(count)
    await send([])
    await until(() => gauge('backlog') === count)
  }
  const gauge = (name: string) => stage.ctx.intake.gauges()[name]!
  const messages = (count: number) => {
    const devices = Object.fromEntries(Array.from({ length: count }, (_, n) => [`D${n}`, {}]))
    const content = {
      sender: alice,
      type: 'm.test',
      message_id: 'm',
      messages: { '@x:y': devices },
    }
    return { edu_type: 'm.direct_to_device', content }
  }

  test('of one room is taken at once and answered late; others and other rooms wait for nothing', async () => {
    await open({ roomSlow: 2, roomRefuse: 6, maxPauseMs: 1e9 })
    await wait(4)
    const late = send([room.say(alice, 'late').text])
    await until(() => gauge('paused') === 1)
    expect(await inbox()).toHaveLength(5)
    expect(stage.rooms.of('receive')).toHaveLength(1)
    expect((await send([room.say(alice, 'mine').text], { from: other })).status).toBe(200)
    // The next one of the same server comes too early.
    expect((await send([])).status).toBe(429)
    stage.ctx.intake.stop()
    expect((await late).status).toBe(200)
    expect(gauge('paused')).toBe(0)
  })

  test('leaves with each row what it cites, so that the room can be thinned; other rooms do without', async () => {
    const graphs = async () => [
      ...(await db.pool<{ event_id: string | null; prev_events: string[]; is_state: boolean }[]>`
        select event_id, prev_events, is_state from inbox where json <> '{}' order by inbox_id`),
    ]
    await open({ roomSlow: 2, roomRefuse: 6, maxPauseMs: 0 })
    await send([room.say(alice, 'calm').text])
    await insert(4)
    await until(async () => {
      await send([])
      return gauge('roomsBehind') === 1
    })
    const { event, text } = room.say(alice, 'behind')
    const topic = room.add(alice, 'm.room.topic', { topic: 'x' }, { stateKey: '' })
    await send([text, topic.text])
    expect<unknown>(await graphs()).toEqual([
      { event_id: null, prev_events: null, is_state: null },
      { event_id: event.eventId, prev_events: event.prevEvents, is_state: false },
      { event_id: topic.event.eventId, prev_events: [event.eventId], is_state: true },
    ])
  })

  test('that goes on is refused with a time to wait, where it floods', async () => {
    await open({ roomSlow: 1, roomRefuse: 3 })
    await wait(4)
    const { status, body } = await send([room.say(alice, 'more').text])
    expect([status, body['errcode']]).toEqual([429, 'M_LIMIT_EXCEEDED'])
    expect(body['retry_after_ms'] as number).toBeGreaterThan(0)
    // Without events of that room it is let in.
    expect((await send([])).status).toBe(200)
    expect((await send([room.say(alice, 'mine').text], { from: other })).status).toBe(200)
  })

  test('that nothing stops leaves out what others send to the room, and says so', async () => {
    await open({ roomSlow: 1, roomRefuse: 2, roomMost: 3 })
    await wait(4)
    const { event, text } = room.say(alice, 'too much')
    const { status, body } = await send([text], { from: other })
    expect([status, body]).toEqual([
      200,
      { pdus: { [event.eventId]: { error: 'Too many events of the room are waiting' } } },
    ])
    expect(await inbox()).toHaveLength(4)
    expect(gauge('notTaken')).toBe(1)
  })

  test('that a worker cannot take is left in the inbox, and the worker told of it', async () => {
    await open({ maxPostedBytes: 0 })
    await send([room.say(alice, 'one').text, room.say(alice, 'two').text])
    const [, entries] = stage.rooms.of('receive')[0] as [string, InboxEntry[]]
    expect(entries.map(({ json }) => json)).toEqual([undefined])
    expect(await inbox()).toHaveLength(2)
  })

  test('is slowed down by a worker that does not take what it was sent', async () => {
    await open({ maxWorkerLagMs: 0, maxPauseMs: 1 })
    stage.rooms.answers.receive = () => new Promise(() => {})
    await send([room.say(alice, 'one').text])
    expect(gauge('posts')).toBe(1)
    await until(() => gauge('workerLagMs') > 0)
    expect((await send([room.say(alice, 'two').text])).status).toBe(200)
    expect(gauge('slowed')).toBeGreaterThan(0)
    const entries = stage.rooms.of('receive').at(-1)![1] as InboxEntry[]
    expect(entries[0]!.json).toBeUndefined()
  })

  test('of messages to devices is told to wait', async () => {
    await open({ messagesPerSecond: 0.001, messagesAtOnce: 5 })
    expect((await send([], { edus: [messages(6)] })).status).toBe(200)
    const { status, body } = await send([], { edus: [messages(1)] })
    expect([status, (body['retry_after_ms'] as number) > 0]).toEqual([429, true])
    expect((await send([], { edus: [messages(1)], from: other })).status).toBe(200)
    // Events alone may come.
    expect((await send([room.say(alice, 'hello').text])).status).toBe(200)
  })

  test('of large transactions has a bound in bytes, and one always fits', async () => {
    await open({ maxBytesInFlight: 1 })
    const unlock = await stage.lockInbox()
    const first = send([room.say(alice, 'one').text])
    await until(() => gauge('bytesInFlight') > 0)
    expect((await send([room.say(alice, 'two').text], { from: other })).status).toBe(429)
    await unlock()
    expect((await first).status).toBe(200)
    expect(gauge('bytesInFlight')).toBe(0)
    expect((await send([room.say(alice, 'two').text], { from: other })).status).toBe(200)
  })
})

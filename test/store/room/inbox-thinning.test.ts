import { expect, test } from 'bun:test'
import { toRoomEvent } from '#core/event/check.ts'
import type { Pdu } from '#core/event/pdu.ts'
import { testDatabase } from '#test/database.ts'
import { MadeUpRoom, MadeUpServer } from '#test/builders.ts'
import * as inbox from '#store/room/inbox.ts'
import { graphOf, thin, type Thinned } from '#store/room/inbox-thinning.ts'

const { pool: sql } = await testDatabase()

type Row = { id: string; cites: string; origin?: string; isState?: boolean }

/** Puts rows in as the intake does, of a room that is behind. */
async function receive(roomId: string, rows: readonly Row[], shard = 1): Promise<void> {
  for (const [index, { id, cites, origin = 'a', isState = false }] of rows.entries())
    await inbox.receive(
      sql,
      [
        {
          origin,
          txnId: `${roomId} ${index}`,
          answer: '{}',
          rows: [
            { shard, roomId, json: '{}', graph: { eventId: id, prevEvents: [cites], isState } },
          ],
        },
      ],
      1_000,
    )
}

/** Each cites the one before it. */
const chain = (length: number, { from = 0, ...more }: Partial<Row> & { from?: number } = {}) =>
  Array.from({ length }, (_, i): Row => ({
    id: `$${from + i}`,
    cites: `$${from + i - 1}`,
    ...more,
  }))

const left = async (roomId: string) => {
  const rows = await sql<{ event_id: string | null }[]>`
    select event_id from inbox where room_id = ${roomId} order by inbox_id`
  return rows.map(({ event_id: id }) => id)
}

const wish = (changes: Partial<Thinned> = {}): Thinned => ({
  above: 10,
  keep: 5,
  newest: 2,
  states: 1,
  held: [],
  ...changes,
})

test('a room up to the bound is left as it is', async () => {
  await receive('!short', chain(10))
  expect(await thin(sql, 1, '!short', wish())).toBeUndefined()
  expect(await left('!short')).toHaveLength(10)
})

test('of a long chain the first and the newest are kept, and of its state as many as are wanted', async () => {
  const rows = chain(20)
  for (const index of [7, 8, 12]) rows[index]!.isState = true
  await receive('!chain', rows)
  expect(await thin(sql, 1, '!chain', wish())).toBe(12)
  expect(await left('!chain')).toEqual(['$0', '$1', '$2', '$3', '$4', '$12', '$18', '$19'])
})

test('what nobody cites stays, and so does what is in memory', async () => {
  const rows = [...chain(12), { id: '$tip', cites: '$3' }, ...chain(8, { from: 12 })]
  await receive('!tips', rows)
  const [held] = await sql<{ inbox_id: number }[]>`
    select inbox_id from inbox where room_id = '!tips' and event_id = '$9'`
  const dropped = await thin(sql, 1, '!tips', wish({ held: [held!.inbox_id] }))
  expect(await left('!tips')).toEqual(['$0', '$1', '$2', '$3', '$4', '$9', '$tip', '$18', '$19'])
  expect(dropped).toBe(12)
})

test('each origin keeps its newest, though others cite them', async () => {
  const good = chain(3, { from: 100, origin: 'good' })
  await receive('!origins', [
    ...chain(6),
    ...good,
    ...chain(6, { from: 6 }),
    { id: '$x', cites: '$102' },
  ])
  await thin(sql, 1, '!origins', wish())
  expect(await left('!origins')).toEqual([
    '$0',
    '$1',
    '$2',
    '$3',
    '$4',
    '$101',
    '$102',
    '$11',
    '$x',
  ])
})

test('rows of which nothing was noted, and those of other rooms, are not touched', async () => {
  await receive('!other', chain(30))
  await receive('!noted', chain(10))
  await sql`
    insert into inbox (shard, room_id, origin, json, received_at)
    select 1, '!noted', 'a', '{}', 1 from generate_series(1, 20)`
  expect(await thin(sql, 1, '!noted', wish())).toBe(4)
  expect(await left('!noted')).toHaveLength(26)
  expect(await left('!other')).toHaveLength(30)
})

test('the same event from several servers goes as often as it came', async () => {
  const rows = chain(12).flatMap((row) => [row, { ...row, origin: 'b' }])
  await receive('!twice', rows)
  expect(await thin(sql, 1, '!twice', wish({ keep: 4 }))).toBe(16)
  expect(await left('!twice')).toEqual(['$0', '$0', '$1', '$1', '$10', '$10', '$11', '$11'])
})

test('an ID that no text of ours can hold is not noted, and its row is taken in', async () => {
  await receive('!odd', [
    { id: '$\x1f', cites: '$a' },
    { id: '$\ud800', cites: '$a' },
    { id: '$a', cites: '$\0' },
    { id: '$good', cites: '$a' },
  ])
  expect(await left('!odd')).toEqual([null, null, null, '$good'])
})

test('own joins are no state that is kept, and all other state is', () => {
  const there = new MadeUpServer('there.test')
  const [mallory, eve] = [there.user('mallory'), there.user('eve')]
  const room = MadeUpRoom.create('11', mallory, there)
  const isState = ({ event }: { event: ReturnType<typeof toRoomEvent> }) => graphOf(event).isState
  expect(isState(room.say(mallory, 'hello'))).toBe(false)
  expect(isState(room.member(eve, eve, 'join'))).toBe(false)
  expect(isState(room.member(mallory, eve, 'ban'))).toBe(true)
  expect(isState(room.member(eve, eve, 'leave'))).toBe(true)
  const topic = room.add(mallory, 'm.room.topic', { topic: 't' }, { stateKey: '' })
  const again = toRoomEvent(
    room.version,
    JSON.parse(topic.text) as Pdu,
    topic.event.eventId,
    room.roomId,
  )
  expect(graphOf(again)).toEqual({
    eventId: topic.event.eventId,
    prevEvents: topic.event.prevEvents,
    isState: true,
  })
})

import { expect, test } from 'bun:test'
import { testDatabase } from '#test/database.ts'
import { Arrivals } from '#engine/federation/arrivals.ts'

const { pool: sql } = await testDatabase()

const rowsOf = (roomId: string, count: number) =>
  Array.from({ length: count }, (_, n) => ({ shard: 1, roomId, json: `{"n":${n}}` }))

const transaction = (origin: string, txnId: string, roomId = '!a:x', count = 2) => ({
  origin,
  txnId,
  answer: `{"pdus":{"${txnId}":{}}}`,
  rows: rowsOf(roomId, count),
})

/** In how many transactions of PostgreSQL the rows of a room were written. */
async function writes(roomId: string): Promise<number> {
  const rows = await sql`select distinct xmin::text from inbox where room_id = ${roomId}`
  return rows.length
}

test('what comes while something is written is written together, each with its own numbers', async () => {
  const arrivals = new Arrivals(sql, () => 7)
  const all = await Promise.all(
    ['a', 'b', 'c', 'd'].map((origin) => arrivals.add(transaction(origin, '1', '!together:x', 40))),
  )
  expect(await writes('!together:x')).toBe(2)
  const rows = await sql`
    select inbox_id, origin, json, received_at, shard from inbox
    where room_id = '!together:x' order by inbox_id`
  const ids = all.flatMap((received) => ('ids' in received ? received.ids : []))
  expect(rows.map((row) => Number(row['inbox_id']))).toEqual(ids)
  expect(rows[41]).toMatchObject({ origin: 'b', json: '{"n":1}', received_at: 7, shard: 1 })
  expect(new Set(ids).size).toBe(160)
})

test('a flood is written in pieces', async () => {
  const arrivals = new Arrivals(sql, Date.now)
  const origins = Array.from({ length: 31 }, (_, n) => `flood-${n}`)
  await Promise.all(origins.map((origin) => arrivals.add(transaction(origin, '1', '!flood:x', 50))))
  expect(await writes('!flood:x')).toBe(4)
})

test('a transaction that came before gets its answer, and puts nothing in', async () => {
  const arrivals = new Arrivals(sql, Date.now)
  const first = transaction('again', '1', '!again:x')
  await arrivals.add(first)
  const [answer, other] = await Promise.all([
    arrivals.add({ ...first, answer: '{"pdus":{"other":{}}}' }),
    arrivals.add(transaction('again', '2', '!again:x')),
  ])
  expect(answer).toEqual({ answer: first.answer })
  expect(other).toMatchObject({ ids: [expect.any(Number), expect.any(Number)] })
  expect(await sql`select from inbox where room_id = '!again:x'`).toHaveLength(4)
})

test('one that cannot be written fails alone', async () => {
  const arrivals = new Arrivals(sql, Date.now)
  const outcomes = await Promise.allSettled([
    arrivals.add(transaction('first', '1', '!bad:x')),
    arrivals.add(transaction('good', '1', '!bad:x')),
    arrivals.add(transaction('bad', '\0', '!bad:x')),
    arrivals.add(transaction('better', '1', '!bad:x')),
  ])
  expect(outcomes.map(({ status }) => status)).toEqual([
    'fulfilled',
    'fulfilled',
    'rejected',
    'fulfilled',
  ])
  expect(await sql`select from inbox where room_id = '!bad:x'`).toHaveLength(6)
  await arrivals.add(transaction('first', '2', '!bad:x'))
})

test('one without events keeps its answer', async () => {
  const arrivals = new Arrivals(sql, Date.now)
  const empty = transaction('empty', '1', '!none:x', 0)
  expect(await arrivals.add(empty)).toEqual({ ids: [] })
  expect(await arrivals.add(empty)).toEqual({ answer: empty.answer })
})

import { expect, test } from 'bun:test'
import { OldClaims } from '#engine/user/old-claims.ts'
import { testDatabase } from '#test/database.ts'

const { pool: sql } = await testDatabase()
const day = 86_400_000
const now = 100 * day

const claim = (messages: number, receivedAt: number) => sql`
  insert into received_messages (shard, user_id, origin, message_id, received_at)
  select 1, '@a:here.example', 'far.example', ${receivedAt} || ' ' || n, ${receivedAt}::bigint
  from generate_series(1, ${messages}::integer) n`
const claims = async () => {
  const [row] = await sql<{ count: number }[]>`select count(*) as count from received_messages`
  return row!.count
}

test('claims of messages are dropped when they are old, however many there are', async () => {
  await claim(12_000, now - 31 * day)
  await claim(3, now - 29 * day)
  const onFault = () => expect.unreachable()
  const oldClaims = new OldClaims({ sql, clock: () => now, onFault })
  await oldClaims.drop()
  expect(await claims()).toBe(3)
  await oldClaims.close()
})

test('nothing is dropped after the end', async () => {
  await claim(1, 0)
  const before = await claims()
  const oldClaims = new OldClaims({ sql, clock: () => now, onFault: () => {} })
  await oldClaims.close()
  await oldClaims.drop()
  expect(await claims()).toBe(before)
})

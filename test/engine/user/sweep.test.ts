import { expect, test } from 'bun:test'
import { sweep } from '#engine/user/sweep.ts'
import { rollback } from '#test/database.ts'

const day = 24 * 3600 * 1000

test('what was received more than a month ago is dropped, also if it is much', () =>
  rollback(async (sql) => {
    const receive = (count: number, at: number) => sql`
      insert into received_messages (shard, user_id, origin, message_id, received_at)
      select 1, '@a:test', 'hs2', ${`${at}.`} || n, ${at} from generate_series(1, ${count}::int) n`
    await receive(12_000, 1 * day)
    await receive(3, 10 * day)
    expect(await sweep(sql, 30 * day)).toBe(0)
    expect(await sweep(sql, 35 * day)).toBe(12_000)
    expect(await sql`select from received_messages`).toHaveLength(3)
  }))

import { expect, test } from 'bun:test'
import { sweep } from '#engine/user/sweep.ts'
import * as briefTokens from '#store/user/brief-tokens.ts'
import * as threepidValidations from '#store/user/threepid-validations.ts'
import * as uiaSessions from '#store/user/uia-sessions.ts'
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

test('sessions and tokens that are over are dropped, the others stay', () =>
  rollback(async (sql) => {
    for (const [id, expiresAt] of [
      ['old', 5],
      ['new', 2 * day],
    ] as const) {
      await uiaSessions.begin(sql, { sessionId: id, userId: '', operation: 'x' }, expiresAt)
      const token = { tokenHash: Buffer.from(id), userId: '@a:test', expiresAt }
      await briefTokens.addLogin(sql, token)
      await briefTokens.addOpenId(sql, token)
      await threepidValidations.begin(sql, {
        sid: id,
        address: `${id}@test`,
        purpose: 'add',
        clientSecret: 's',
        sendAttempt: 1,
        tokenHash: null,
        nextLink: null,
        expiresAt,
      })
    }
    expect(await sweep(sql, day)).toBe(4)
    expect(await sweep(sql, day)).toBe(0)
    expect(await sql`select from uia_sessions`).toHaveLength(1)
  }))

test('of too many authentication sessions the oldest are given up', () =>
  rollback(async (sql) => {
    for (let n = 0; n < 5; n++)
      await uiaSessions.begin(sql, { sessionId: `${n}`, userId: '', operation: 'x' }, day + n)
    await uiaSessions.dropBeyond(sql, 2)
    const left = await sql`select session_id from uia_sessions order by 1`
    expect(left.map((row) => row['session_id'] as string)).toEqual(['3', '4'])
    await uiaSessions.dropBeyond(sql, 2)
    expect(await sql`select from uia_sessions`).toHaveLength(2)
  }))

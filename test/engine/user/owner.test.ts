import { describe, expect, test } from 'bun:test'
import { MatrixError } from '#core/error.ts'
import { shardOf } from '#core/shard.ts'
import { UserShards, type UserShardsOptions } from '#engine/user/owner.ts'
import type { ToDevice } from '#engine/user/writers/to-device.ts'
import type { UserLanded } from '#engine/user/writers/writer.ts'
import { openPool } from '#store/db.ts'
import { openTestDatabase, testDatabase } from '#test/database.ts'

const db = await testDatabase()
const sql = db.pool

let count = 0
/** A user that no other test knows. */
const user = (shard?: number): string => {
  for (;;) {
    const userId = `@u${++count}:test`
    if (shard === undefined || shardOf(userId) === shard) return userId
  }
}

const owner = (options: Partial<UserShardsOptions> = {}) =>
  new UserShards(sql, { onCommit: () => {}, ...options })

/** Makes a device without minding its token. */
const login = (users: UserShards, userId: string, deviceId: string) =>
  users.call('createSession', userId, {
    deviceId,
    tokenHash: crypto.getRandomValues(new Uint8Array(32)),
    createdAt: 1,
  })

const errcode = async (promise: Promise<unknown>): Promise<string> => {
  const error = await promise.then(
    () => undefined,
    (thrown: unknown) => thrown,
  )
  return error instanceof MatrixError ? error.errcode : String(error)
}

describe('positions', () => {
  test('calls that come while a commit is in flight are committed together', async () => {
    const commits: [number, number][][] = []
    const users = owner({ onCommit: (positions) => commits.push(positions) })
    const userId = user()
    const landed = await Promise.all(
      Array.from({ length: 50 }, (_, i) =>
        users.call('putAccountData', userId, null, `t${i}`, '{}'),
      ),
    )
    expect(landed.map(({ position }) => position)).toEqual(
      Array.from({ length: 50 }, (_, i) => landed[0]!.position + i),
    )
    expect(commits.length).toBeLessThanOrEqual(2)
    expect(commits.at(-1)).toEqual([[shardOf(userId), landed.at(-1)!.position]])
  })

  test('calls of one user that are of different kinds keep their order', async () => {
    const users = owner()
    const userId = user()
    const types = ['a', 'b', 'c', 'd']
    const landed = await Promise.all(
      types.flatMap((type) => [
        users.call('putAccountData', userId, null, type, '{}'),
        users.call('forgetRoom', userId, '!r:test', `$${type}`),
        login(users, userId, 'D'),
        users.call('endSession', userId, 'D'),
      ]),
    )
    const positions = landed.map(({ position }) => position)
    expect(positions).toEqual(positions.toSorted((a, b) => a - b))
    expect(await sql`select from devices where user_id = ${userId}`).toHaveLength(0)
    const [forgotten] = await sql`select * from forgotten_rooms where user_id = ${userId}`
    expect(forgotten).toMatchObject({ member_event: '$d' })
  })

  test('a replaced entry has the position of its last writing', async () => {
    const users = owner()
    const userId = user()
    const landed = await Promise.all(
      ['1', '2', '3'].map((n) => users.call('putAccountData', userId, '!r:test', 't', n)),
    )
    expect(await sql`select content, position from account_data where user_id = ${userId}`).toEqual(
      [{ content: '3', position: landed[2]!.position }] as never,
    )
  })

  test('a bad call fails alone, and those around it are committed', async () => {
    const faults: string[] = []
    const users = owner({ onFault: (_, method) => faults.push(method) })
    const ids = Array.from({ length: 9 }, () => user())
    const results = await Promise.allSettled(
      ids.map((id, i) =>
        // No number of milliseconds is half a one.
        users.call('createUser', id, { admin: false, createdAt: i === 4 ? 0.5 : 1 }),
      ),
    )
    expect(results.map(({ status }) => status)).toEqual(
      ids.map((_, i) => (i === 4 ? 'rejected' : 'fulfilled')),
    )
    expect(faults).toEqual(['createUser'])
    expect(await sql`select from users where user_id = any(${ids})`).toHaveLength(8)
  })

  test('a shard that another holds delays no other shard', async () => {
    const users = owner()
    const [held, free] = [user(1), user(2)]
    let release = () => {}
    const holding = sql.begin(async (tx) => {
      await tx`select from user_shards where shard = 1 for update`
      await new Promise<void>((resolve) => (release = resolve))
    })
    while ((await locks()) === 0) await Bun.sleep(5)
    let heldDone = false
    const waiting = users
      .call('putAccountData', held, null, 't', '{}')
      .then(() => (heldDone = true))
    await Bun.sleep(20)
    await users.call('putAccountData', free, null, 't', '{}')
    expect(heldDone).toBe(false)
    release()
    await Promise.all([holding, waiting])
  })
  const locks = async () =>
    (
      await sql`select from pg_locks where relation = 'user_shards'::regclass and mode = 'RowShareLock'`
    ).length

  test('more calls than may wait are refused', async () => {
    const users = owner({ maxWaiting: 5 })
    const results = await Promise.allSettled(
      Array.from({ length: 20 }, () => users.call('putAccountData', user(3), null, 't', '{}')),
    )
    const refused = results.filter(({ status }) => status === 'rejected')
    // Two went into a commit at once, or five at most waited for one.
    expect(refused.length).toBeGreaterThanOrEqual(13)
    expect(refused.length).toBeLessThanOrEqual(15)
    expect(refused[0]).toMatchObject({ reason: { status: 503 } })
    await users.close()
    expect(await errcode(users.call('forgetRoom', user(), '!r:test', '$e'))).toBe('M_UNKNOWN')
  })
})

describe('accounts and sessions', () => {
  test('a name is given out once, also within a batch', async () => {
    const users = owner()
    const userId = user()
    const account = { admin: false, createdAt: 1, passwordHash: 'h' }
    const results = await Promise.allSettled([
      users.call('createUser', userId, account),
      users.call('createUser', userId, account),
      users.call('createUser', user(), account),
    ])
    expect(results.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'fulfilled'])
    expect(results[1]).toMatchObject({ reason: { errcode: 'M_USER_IN_USE' } })
    expect(await errcode(users.call('createUser', userId, account))).toBe('M_USER_IN_USE')
  })

  test('a new session of a device ends the old one and keeps the name of the device', async () => {
    const users = owner()
    const userId = user()
    const session = { deviceId: 'D', createdAt: 1 }
    const [first, second] = [new Uint8Array(32).fill(count), new Uint8Array(32).fill(count + 1)]
    await users.call('createSession', userId, { ...session, tokenHash: first, displayName: 'one' })
    await users.call('createSession', userId, { ...session, tokenHash: second, displayName: 'two' })
    const tokens = await sql`select token_hash from access_tokens where user_id = ${userId}`
    expect(tokens.map((row) => [...(row['token_hash'] as Buffer)])).toEqual([[...second]])
    const devices = await sql`select display_name from devices where user_id = ${userId}`
    expect(devices).toEqual([{ display_name: 'one' }] as never)
  })

  test('ending sessions removes devices, tokens and what waits for them', async () => {
    const users = owner()
    const userId = user()
    for (const device of ['A', 'B', 'C']) await login(users, userId, device)
    await users.call('deliverToDevice', userId, {
      sender: '@x:test',
      type: 't',
      messages: [['*', '{}']],
    })
    const left = async (table: string) =>
      (await sql`select device_id from ${sql(table)} where user_id = ${userId} order by 1`).map(
        (row) => row['device_id'] as string,
      )
    await users.call('endSession', userId, 'B')
    for (const table of ['devices', 'access_tokens', 'to_device'])
      expect(await left(table)).toEqual(['A', 'C'])
    await users.call('endAllSessions', userId)
    for (const table of ['devices', 'access_tokens', 'to_device'])
      expect(await left(table)).toEqual([])
  })
})

describe('profiles', () => {
  test('fields are put and removed in the order of the calls', async () => {
    const users = owner()
    const userId = user()
    await Promise.all([
      users.call('putProfileField', userId, 'displayname', '"A"'),
      users.call('putProfileField', userId, 'm.tz', '"Europe/Berlin"'),
      users.call('putProfileField', userId, 'displayname', null),
      users.call('putProfileField', userId, 'avatar_url', null),
      users.call('putProfileField', userId, 'm.tz', '"UTC"'),
    ])
    expect(await sql`select name, value from profile_fields where user_id = ${userId}`).toEqual([
      { name: 'm.tz', value: '"UTC"' },
    ] as never)
  })

  test('a profile has 64 KiB at most, counted over all fields', async () => {
    const users = owner()
    const userId = user()
    // {"a":"…","b":"…"} with its braces, colons and commas.
    const value = (bytes: number) => JSON.stringify('x'.repeat(bytes - 2))
    await users.call('putProfileField', userId, 'a', value(30_000))
    const rest = 65_536 - '{"a":,"b":}'.length - 30_000
    expect(await errcode(users.call('putProfileField', userId, 'b', value(rest + 1)))).toBe(
      'M_PROFILE_TOO_LARGE',
    )
    await users.call('putProfileField', userId, 'b', value(rest))
    expect(await errcode(users.call('putProfileField', userId, 'c', '1'))).toBe(
      'M_PROFILE_TOO_LARGE',
    )
    await Promise.all([
      users.call('putProfileField', userId, 'a', '1'),
      users.call('putProfileField', userId, 'c', '1'),
    ])
  })
})

describe('to-device messages', () => {
  const message = (messages: ToDevice['messages'], id?: string): ToDevice => ({
    sender: '@x:hs2',
    type: 'm.test',
    messages,
    ...(id !== undefined && { received: { origin: 'hs2', messageId: id, at: 5 } }),
  })
  const inbox = (userId: string) =>
    sql`select device_id, content from to_device where user_id = ${userId} order by position, device_id`

  test('reach the devices that there are, one that is named by its own', async () => {
    const users = owner()
    const userId = user()
    await login(users, userId, 'A')
    await login(users, userId, 'B')
    await users.call(
      'deliverToDevice',
      userId,
      message([
        ['gone', '0'],
        ['*', '1'],
        ['B', '2'],
      ]),
    )
    expect(await inbox(userId)).toEqual([
      { device_id: 'A', content: '1' },
      { device_id: 'B', content: '2' },
    ] as never)
  })

  test('of another server have their effect once, in one batch and over several', async () => {
    const users = owner()
    const userId = user()
    await login(users, userId, 'A')
    const send = (id: string, content: string) =>
      users.call('deliverToDevice', userId, message([['A', content]], id))
    await Promise.all([send('m1', '1'), send('m1', '1'), send('m2', '2')])
    await Promise.all([send('m2', '2'), send('m3', '3')])
    expect((await inbox(userId)).map((row) => row['content'] as string)).toEqual(['1', '2', '3'])
  })
})

test('a connection that is cut in the middle of commits loses and doubles nothing', async () => {
  await using database = await openTestDatabase()
  const pool = openPool(database.url, { max: 4, name: 'victim' })
  const users = new UserShards(pool, { onCommit: () => {} })
  const receiver = '@receiver:test'
  await login(users, receiver, 'A')
  const landed: UserLanded[] = []
  let done = false
  let cuts = 0
  const cutting = (async () => {
    while (!done) {
      const before = landed.length
      const { length } = await database.pool`
        select pg_terminate_backend(pid) from pg_stat_activity
        where application_name = 'victim' and state <> 'idle' limit 1`
      cuts += length
      // One that is cut again and again is given up, and should be: each comes to its end first.
      do await Bun.sleep(5)
      while (!done && length > 0 && landed.length < before + 10)
    }
  })()
  // On a fast machine many go through before one is met.
  for (let i = 0; i < 100 || (cuts === 0 && i < 10_000); i++)
    landed.push(
      ...(await Promise.all(
        Array.from({ length: 5 }, (_, k) =>
          users.call('deliverToDevice', receiver, {
            sender: '@x:test',
            type: 't',
            messages: [['A', `${i}.${k}`]],
          }),
        ),
      )),
    )
  done = true
  await cutting
  expect(cuts).toBeGreaterThan(0)
  const rows = await database.pool<{ content: string; position: number }[]>`
    select content, position from to_device order by position`
  expect(rows.map((row) => row.content)).toEqual(
    Array.from(landed, (_, n) => `${Math.floor(n / 5)}.${n % 5}`),
  )
  expect(rows.map((row) => row.position)).toEqual(landed.map(({ position }) => position))
  await users.close()
  await pool.end()
})

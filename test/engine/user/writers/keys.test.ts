import { expect, test } from 'bun:test'
import { UserShards } from '#engine/user/owner.ts'
import { openPool } from '#store/db.ts'
import { openTestDatabase } from '#test/database.ts'
import { Device } from '#test/device.ts'

test('connections that are cut in the middle of claims give no key out twice', async () => {
  await using database = await openTestDatabase()
  const pool = openPool(database.url, { max: 4, name: 'victim' })
  const users = new UserShards(pool, { onCommit: () => {} })
  const [userId, deviceId, algorithm] = ['@alice:test', 'D', 'curve25519']
  const device = new Device({ userId, deviceId })
  await users.call('createSession', userId, {
    deviceId,
    tokenHash: new Uint8Array(32),
    createdAt: 1,
  })
  const keys = Array.from({ length: 300 }, (_, n) => ({ algorithm, keyId: `${n}`, json: `"${n}"` }))
  const upload = { deviceId, oneTimeKeys: keys, fallbackKeys: [] }
  await users.call('uploadKeys', userId, { ...upload, deviceKeys: JSON.stringify(device.keys) })

  const given: string[] = []
  let done = false
  const cutting = (async () => {
    let cuts = 0
    while (!done) {
      const before = given.length
      const { length } = await database.pool`
        select pg_terminate_backend(pid) from pg_stat_activity
        where application_name = 'victim' and state <> 'idle' limit 1`
      cuts += length
      // One that is cut again and again is given up, and should be: each comes to its end first.
      do await Bun.sleep(5)
      while (!done && length > 0 && given.length < before + 10)
    }
    return cuts
  })()
  for (let round = 0; round < 60; round++) {
    const claims = Array.from({ length: 5 }, () =>
      users.call('claimKeys', userId, [[deviceId, algorithm]], round),
    )
    // In between, the device repeats its upload.
    if (round % 10 === 5) claims.push(users.call('uploadKeys', userId, upload) as never)
    for (const { keys: claimed = [] } of await Promise.all(claims))
      for (const [, , keyId] of claimed) given.push(keyId)
  }
  done = true
  expect(await cutting).toBeGreaterThan(0)
  expect(given).toHaveLength(300)
  expect(new Set(given).size).toBe(300)
  expect((await users.call('claimKeys', userId, [[deviceId, algorithm]], 1)).keys).toEqual([])
  await users.close()
  await pool.end()
})

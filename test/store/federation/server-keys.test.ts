import { expect, test } from 'bun:test'
import * as destinations from '#store/federation/destinations.ts'
import * as serverKeys from '#store/federation/server-keys.ts'
import { rollback } from '#test/database.ts'

const key = (keyId: string, expired: number | null = null): serverKeys.ServerKeyRow => ({
  server: 'a.test',
  key_id: keyId,
  key: 'k',
  valid_until_ts: 10,
  expired_ts: expired,
})

test('keys are found by their IDs, or all of a server', () =>
  rollback(async (sql) => {
    await serverKeys.put(sql, [key('ed25519:1'), key('ed25519:2')])
    const some = [{ server: 'a.test', keyIds: ['ed25519:2', 'ed25519:3'] }]
    expect([...(await serverKeys.list(sql, some))]).toEqual([key('ed25519:2')])
    expect(await serverKeys.list(sql, [{ server: 'a.test', keyIds: [] }])).toHaveLength(2)
    expect(await serverKeys.list(sql, [{ server: 'b.test', keyIds: [] }])).toHaveLength(0)
  }))

test('a key that had expired once stays expired, whatever is said of it later', () =>
  rollback(async (sql) => {
    await serverKeys.put(sql, [key('ed25519:1', 5)])
    await serverKeys.put(sql, [key('ed25519:1')])
    const [row] = await serverKeys.list(sql, [{ server: 'a.test', keyIds: [] }])
    expect(row!.expired_ts).toBe(5)
  }))

test('what is heard of keys adds to what their server has said, and changes nothing of it', () =>
  rollback(async (sql) => {
    await serverKeys.put(sql, [key('ed25519:1', 5), key('ed25519:2'), key('ed25519:3')])
    const known = await serverKeys.putHeard(sql, [
      { ...key('ed25519:1'), valid_until_ts: 20 },
      { ...key('ed25519:2'), valid_until_ts: 7 },
      { ...key('ed25519:3'), key: 'another' },
      key('ed25519:4'),
    ])
    expect([...known]).toEqual([
      { ...key('ed25519:1', 5), valid_until_ts: 20 },
      key('ed25519:2'),
      key('ed25519:4'),
    ])
    const all = await serverKeys.list(sql, [{ server: 'a.test', keyIds: [] }])
    expect(all.find((row) => row.key_id === 'ed25519:3')!.key).toBe('k')
  }))

test('servers that never answered are forgotten after a while, unless something waits for them', () =>
  rollback(async (sql) => {
    const row = (server: string, last: number | null) => ({
      server,
      failing_since: 100,
      failures: 1,
      retry_at: 1,
      last_success: last,
    })
    await destinations.put(sql, [row('a.test', null), row('b.test', 5), row('c.test', null)])
    await sql`insert into outbox_edus (server, json) values ('c.test', '{}')`
    await destinations.removeStale(sql, 101)
    const left = await destinations.list(sql, 10)
    expect(left.map(({ server }) => server).toSorted()).toEqual(['b.test', 'c.test'])
  }))

import { expect, test } from 'bun:test'
import sharp from 'sharp'
import { shardOf } from '#core/shard.ts'
import { Home } from '#test/api/client-server/home.ts'
import { testDatabase } from '#test/database.ts'
import { Device } from '#test/device.ts'
import { until } from '#test/until.ts'

const db = await testDatabase()
const home = await Home.open(db)

/** The tables in which a text stands somewhere, in any column. */
async function tablesWith(text: string): Promise<string[]> {
  const tables = await db.pool<{ name: string }[]>`
    select c.relname as name from pg_class c join pg_namespace n on n.oid = c.relnamespace
    where n.nspname = 'public' and c.relkind = 'r'`
  const hex = Buffer.from(text).toString('hex')
  const found: string[] = []
  for (const { name } of tables) {
    const rows = await db.pool`
      select from ${db.pool(name)} t
      where strpos(t::text, ${text}) > 0 or strpos(t::text, ${hex}) > 0 limit 1`
    if (rows.length > 0) found.push(name)
  }
  return found
}

test('CVE-2023-41335: a new password stands nowhere in the database, at no stage of its change', async () => {
  const pia = await home.person('pia')
  const next = `correct-horse-${crypto.randomUUID()}`
  const change = { new_password: next, logout_devices: false }
  // Something of hers is in it, and is found.
  await pia.client.put(`/profile/${pia.userId}/displayname`, { displayname: `${next}-shown` })
  expect(await tablesWith(next)).not.toEqual([])
  await pia.client.put(`/profile/${pia.userId}/displayname`, { displayname: 'Pia' })

  const asked = await pia.client.post('/account/password', change)
  expect(asked.status).toBe(401)
  expect(await tablesWith(next)).toEqual([])
  const proof = (password: string) => ({
    type: 'm.login.password',
    identifier: { type: 'm.id.user', user: pia.userId },
    password,
    session: asked.body.session,
  })
  await pia.client.post('/account/password', { ...change, auth: proof('wrong') })
  expect(await tablesWith(next)).toEqual([])
  const done = await pia.client.post('/account/password', { ...change, auth: proof('secret') })
  expect(done.status).toBe(200)
  expect(await tablesWith(next)).toEqual([])
  const login = { type: 'm.login.password', user: pia.userId, password: next }
  expect((await home.client.post('/login', login)).status).toBe(200)
  expect(await tablesWith(next)).toEqual([])
})

test('CVE-2026-45078: a crowd that waits for one lock asks nothing meanwhile, and holds up nobody', async () => {
  const mallory = await home.person('mallory')
  let bob = await home.person('bob')
  while (shardOf(bob.userId) === shardOf(mallory.userId)) bob = await home.person('bob')
  const device = new Device(mallory)
  const texts: string[] = []
  const options = db.pool.options as { debug: unknown }
  const locked = Promise.withResolvers<void>()
  const release = Promise.withResolvers<void>()
  // Whatever writes one-time keys waits from here on.
  const holding = db.pool.begin(async (sql) => {
    await sql`lock table one_time_keys in exclusive mode`
    locked.resolve()
    await release.promise
  })
  await locked.promise
  const uploads = Array.from({ length: 300 }, () =>
    mallory.client.post('/keys/upload', { one_time_keys: device.oneTimeKeys(1) }),
  )
  try {
    // One upload is at it; those behind it come together when it ends.
    await until(async () => {
      const rows = await db.pool`
        select from pg_locks where not granted and relation = 'one_time_keys'::regclass`
      return rows.length > 0
    })
    options.debug = (_connection: number, text: string) => texts.push(text)
    for (let turn = 0; turn < 20; turn++) {
      const name = { displayname: `Bob ${turn}` }
      expect((await bob.client.put(`/profile/${bob.userId}/displayname`, name)).status).toBe(200)
    }
    expect(texts.filter((text) => text.includes('one_time_keys'))).toEqual([])
  } finally {
    options.debug = false
    release.resolve()
    await holding
  }
  const answers = await Promise.all(uploads)
  expect(new Set(answers.map(({ status }) => status))).toEqual(new Set([200]))
  const counts = answers.map(({ body }) => body.one_time_key_counts.signed_curve25519 as number)
  expect(Math.max(...counts)).toBe(300)
})

test('CVE-2023-4863: the decoder of WebP is one in which that is mended', () => {
  const [major, minor, patch] = sharp.versions.webp!.split('.').map(Number)
  expect(major! * 1_000_000 + minor! * 1_000 + patch!).toBeGreaterThanOrEqual(1_003_002)
})

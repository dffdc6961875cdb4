import { afterAll, expect, test } from 'bun:test'
import { openPool } from '#store/db.ts'
import type { Person } from '#test/api/server-server/two-homes.ts'
import { Home } from './home.ts'

const home = await Home.open()
afterAll(() => home.remove())

const [receivers, messages] = [50, 1_000]

/** Another session of the database that holds every row of users and devices, until it is let go. */
async function lockEverybody() {
  const pool = openPool(home.database.url, { max: 1, name: 'another-session' })
  const held = Promise.withResolvers<void>()
  const letGo = Promise.withResolvers<void>()
  const holding = pool.begin(async (sql) => {
    await sql`select from users for update`
    await sql`select from devices for update`
    held.resolve()
    await letGo.promise
  })
  await held.promise
  const release = async () => {
    letGo.resolve()
    await holding
    await pool.end()
  }
  return { release, [Symbol.asyncDispose]: release }
}

/** How many rows of a table nobody holds. */
const freeRows = async (table: 'users' | 'devices') =>
  (await home.database.pool.unsafe(`select from ${table} for update skip locked`)).length

type Told = { sender: string; type: string; content: { n: number } }

/** Syncs until so many messages came; what came, in order, and the token behind it. */
async function collect(person: Person, wanted: number): Promise<{ got: number[]; since: string }> {
  const got: number[] = []
  let since = ''
  while (got.length < wanted) {
    const query = since === '' ? '' : `since=${since}&timeout=60000`
    const answer = await person.do('GET', `sync?${query}`)
    got.push(...((answer.to_device?.events ?? []) as Told[]).map(({ content }) => content.n))
    since = answer.next_batch as string
  }
  return { got, since }
}

test('messages to devices reach those who sync, once each, while others hold users and devices', async () => {
  const people = await Promise.all(
    Array.from({ length: receivers }, (_, n) => home.server.person(`receiver${n}`)),
  )
  const sender = await home.server.person('sender')
  await using locked = await lockEverybody()
  await Promise.all([...people, sender].map((person) => person.do('GET', 'sync')))
  // That devices were seen is written now and waits; nobody waits behind it.
  void home.server.context.tokens.flush()
  const collecting = people.map((person) => collect(person, messages / receivers))
  const sending = Array.from({ length: messages }, (_, n) =>
    sender.do('PUT', `sendToDevice/m.test/t${n}`, {
      messages: { [people[n % receivers]!.userId]: { '*': { n } } },
    }),
  )
  const collected = await Promise.all(collecting)
  await Promise.all(sending)
  const free = [await freeRows('users'), await freeRows('devices')]
  await locked.release()

  expect(free).toEqual([0, 0])
  const after = await Promise.all(
    people.map((person, index) => person.do('GET', `sync?since=${collected[index]!.since}`)),
  )
  for (const [index, { got }] of collected.entries()) {
    const own = Array.from({ length: messages / receivers }, (_, n) => index + n * receivers)
    expect(got.toSorted((a, b) => a - b)).toEqual(own)
    expect(after[index].to_device).toBeUndefined()
  }
  expect(await home.database.pool`select from to_device`).toHaveLength(0)
})

import { expect, test } from 'bun:test'
import type { TestDatabase } from '#test/database.ts'
import { adopt, setState, stored, until } from '#test/room-engine.ts'
import { besiege, evil, mallory } from '#test/hostile/siege.ts'

/** Rows and bytes of every table. */
async function sizes({
  pool,
}: TestDatabase): Promise<Map<string, { rows: number; bytes: number }>> {
  const tables = await pool<{ name: string }[]>`
    select c.relname as name from pg_class c join pg_namespace n on n.oid = c.relnamespace
    where n.nspname = 'public' and c.relkind = 'r'`
  const found = new Map<string, { rows: number; bytes: number }>()
  for (const { name } of tables) {
    const [row] = await pool<{ rows: number; bytes: number }[]>`
      select count(*)::int as rows, coalesce(sum(pg_column_size(t.*)), 0)::int as bytes
      from ${pool(name)} t`
    found.set(name, row!)
  }
  return found
}

/**
 * Many chains of auth events that lead from each to all others: power levels that change all the time,
 * and users who say again who they are, each time beside each other. Servers that kept an index of who
 * is reachable from whom kept a row for each pair of chains at each step, and filled their disks.
 */
test('CVE-2024-31208: chains of auth events that all meet take what their events take, and no more', async () => {
  await using siege = await besiege({ version: '11' })
  const { database, roomId } = siege
  const level = (n: number) => ({
    users: { '@alice:us.test': 100, [mallory]: 60 },
    events: { 'org.example.step': n },
  })
  await setState(siege, roomId, 'm.room.power_levels', level(0))
  const room = await adopt(database, roomId, evil)
  const people = Array.from({ length: 10 }, (_, index) => evil.user(`m${index}`))
  let step = 0
  const round = () => {
    step++
    const levels = room.add(mallory, 'm.room.power_levels', level(step % 50), { stateKey: '' })
    const heads = [...room.heads]
    const members = people.map((user) => {
      const content = { membership: 'join', displayname: `${step}` }
      return room.add(user, 'm.room.member', content, { stateKey: user, prev: heads })
    })
    return [levels, ...members]
  }
  const attack = async (rounds: number) => {
    const before = await sizes(database)
    let sent = 0
    for (let each = 0; each < rounds; each++) {
      const made = round()
      sent += made.length
      await siege.attack(made.map(({ text }) => text))
      await until(async () => (await siege.inboxed()) === 0)
      expect(await stored(database, roomId, made.at(-1)!.event.eventId)).toMatchObject({ flags: 0 })
    }
    const after = await sizes(database)
    const grown = [...after].map(([name, { rows, bytes }]) => {
      const was = before.get(name)!
      return { name, rows: (rows - was.rows) / sent, bytes: (bytes - was.bytes) / sent }
    })
    return new Map(grown.map((each) => [each.name, each]))
  }
  const [first] = room.heads
  const early = await attack(4)
  const late = await attack(8)
  // Twice as far into it an event takes what it took.
  const grows = [...late.values()].filter(
    ({ name, rows, bytes }) => rows > 1.1 || bytes > 1.3 * early.get(name)!.bytes + 40,
  )
  expect(grows).toEqual([])
  // One that joins the beginning of it with the end has all of it resolved.
  const all = room.say(mallory, 'from first to last', {
    prev: [first!, ...room.heads.slice(0, 10)],
  })
  await siege.attack([all.text])
  await siege.othersGoOn(() => true)
  await until(async () => (await siege.inboxed()) === 0)
  expect(await stored(database, roomId, all.event.eventId)).toMatchObject({ flags: 0 })
  const { state } = await adopt(database, roomId, evil)
  expect(state.get('m.room.power_levels ')!.content).toEqual(level(step % 50))
})

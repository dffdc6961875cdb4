import type { Pool } from '#store/db.ts'
import { openBench } from './figures.ts'
import { countKept, joinRooms, waiting, withFloodStage } from './flood-stage.ts'
import type { Traffic } from './origins/protocol.ts'
import { databaseBytes, type WholeServer } from './whole-server.ts'

const help = `
What a message of another server takes of the disk, and where: the growth of the database (after vacuum
and checkpoint, with an empty inbox, and all that follows events in the background done) for each message,
and that of the tables and indexes which grow most. What federation-throughput tells is with the state and
the joins of its traffic.

  bun run bench message-bytes [--rooms 20] [--origins 4] [--events 20000] [--warm 20000]

The first messages (--warm) are not counted: pages that a table has from its beginning are none of theirs.
`

const bench = openBench(
  'message-bytes',
  help,
  { rooms: 20, origins: 4, events: 20_000, warm: 20_000, version: 11 },
  { rooms: 4, events: 1_000, warm: 200 },
)
const { options } = bench

/** Of what grows less, only the sum is told. */
const leastBytes = 5

await withFloodStage({ sets: [options.origins], quick: true }, async ({ server, origins }) => {
  const [set] = origins
  const [reader] = await server.people(1, 'reader')
  const wish = { count: options.rooms, version: String(options.version), speakers: 1 }
  const rooms = await set!.call('rooms', wish)
  await joinRooms(reader!, rooms)
  const ids = rooms.map(({ roomId }) => roomId)
  const send = async (events: number): Promise<Traffic> => {
    const mix = { state: 0, joins: 0, wrong: 0, txn: 50 }
    const traffic = await set!.call('make', { ...mix, rooms: ids, kind: 'messages', events })
    await set!.call('send', { traffic: traffic.id })
    await settle(server)
    return traffic
  }
  await send(options.warm)
  // An index gives pages back that have become empty when it is vacuumed for the second time.
  await databaseBytes(server.stand.pool)
  await send(50)
  const bytesBefore = await databaseBytes(server.stand.pool)
  const before = await relations(server.stand.pool)
  const traffic = await send(options.events)
  const bytes = (await databaseBytes(server.stand.pool)) - bytesBefore
  const after = await relations(server.stand.pool)
  const { lost, doubled } = await countKept(reader!, traffic.valid, traffic.wrong)
  const [text] = await server.stand.pool<{ bytes: number }[]>`
    select avg(length(json))::float as bytes from event_json`

  bench.tell('a message', [
    {
      name: 'in the database',
      value: bytes / options.events,
      unit: 'bytes',
      target: { first: 2_500, goal: 1_500 },
    },
    { name: 'of JSON, on average of all events', value: text!.bytes, unit: 'bytes' },
    { name: 'lost', value: lost, unit: '', target: { exactly: 0 } },
    { name: 'doubled', value: doubled, unit: '', target: { exactly: 0 } },
  ])
  const grown = [...after]
    .map(([name, now]) => ({ name, value: (now - (before.get(name) ?? 0)) / options.events }))
    .sort((a, b) => b.value - a.value)
  const large = grown.filter(({ value }) => value >= leastBytes)
  bench.tell('where', [
    ...large.map((each) => ({ ...each, unit: 'bytes' })),
    {
      name: 'all others',
      value: grown.slice(large.length).reduce((sum, { value }) => sum + value, 0),
      unit: 'bytes',
    },
  ])
  bench.chart(
    'Bytes of a message, by table and index',
    large.map(({ name }) => name),
    { groups: ['where'] },
  )
})
bench.finish()

/** Until the inbox is empty, and the server does nothing any more. */
async function settle(server: WholeServer): Promise<void> {
  for (let round = 0; round < 300; round++) {
    const [own] = await server.costOf(() => Bun.sleep(500))
    if (own < 50_000 && (await waiting(server)) === 0) return
  }
  throw new Error('The server did not come to rest')
}

/** Bytes of every table, without its indexes, and of every index. */
async function relations(sql: Pool): Promise<Map<string, number>> {
  const rows = await sql<{ name: string; bytes: number }[]>`
    select c.relname as name,
      (case when c.relkind = 'i' then pg_relation_size(c.oid) else pg_table_size(c.oid) end)::float as bytes
    from pg_class c join pg_namespace n on n.oid = c.relnamespace
    where c.relkind in ('r', 'i') and n.nspname = current_schema()`
  return new Map(rows.map(({ name, bytes }) => [name, bytes]))
}

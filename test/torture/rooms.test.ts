import { afterAll, expect, test } from 'bun:test'
import { encodeBase64 } from '#core/base64.ts'
import { MatrixError } from '#core/error.ts'
import { RoomPool } from '#engine/worker/pool.ts'
import type { Landed, LocalEvent } from '#engine/worker/protocol.ts'
import { MadeUpFederation, type MadeUpRoom, MadeUpServer } from '#test/builders.ts'
import { openTestDatabase } from '#test/database.ts'
import { alice, createRoom, insist, joinFrom, store, until, us } from '#test/room-engine.ts'
import { deathChannel } from './mortal-worker-channel.ts'
import { committedVector, Reader, rowsByPosition, type Vector } from './reader.ts'

/**
 * Rooms under torture: two workers with real threads, many writers, connections that are cut, commits
 * that fail for one room or for a whole batch, workers that die. What was acknowledged is there, once,
 * and whoever follows the positions meets every row.
 */
const numberOfRooms = 8
const rounds = 20

const database = await openTestDatabase()
const there = new MadeUpServer('there.test')
const mallory = there.user('mallory')
const deaths = new BroadcastChannel(deathChannel)
const faults: string[] = []
const announced: Vector = new Map()
const backwards: string[] = []

const pool = new RoomPool({
  workers: 2,
  shards: 64,
  entry: new URL('./mortal-worker.ts', import.meta.url).href,
  restartMs: 20,
  start: {
    databaseUrl: database.url,
    connections: 4,
    log: { level: 'silent' } as never,
    owner: 'torture',
    serverName: us.name,
    signingKey: { keyId: us.key.keyId, seed: encodeBase64(us.key.seed) },
    limits: { inboxPollMs: 200, retryMs: 20, attempts: 30 },
  },
  federation: new MadeUpFederation(us, there),
  onSignal(signal) {
    if (signal.s !== 'rooms-at') return
    for (const [shard, position] of signal.positions) {
      if (position < (announced.get(shard) ?? 0)) backwards.push(`${shard}: ${position}`)
      announced.set(shard, position)
    }
  },
  onFault: (error, where) => faults.push(`${where}: ${error.message}`),
})

afterAll(async () => {
  deaths.close()
  await pool.stop()
  await database.close()
})

/** Commits fail from now on: some for a conflict, some for a whole batch, none for one room alone. */
const breakCommits = () =>
  database.pool.unsafe(`
    create function torture() returns trigger language plpgsql as $$
    begin
      if random() < 0.03 then
        raise exception using errcode = '40001', message = 'a conflict, made up';
      elsif random() < 0.1 and (select count(distinct room_nid) from fresh) > 1 then
        raise exception using errcode = '22P02', message = 'a bad row, made up';
      end if;
      return null;
    end $$;
    create trigger torture after insert on events referencing new table as fresh
      for each statement execute function torture()`)

const mendCommits = () => database.pool.unsafe('drop trigger torture on events')

const send = (roomId: string, event: Omit<LocalEvent, 'sender'>, txnId: string): Promise<Landed> =>
  insist(() =>
    pool.call('send', roomId, {
      sender: alice,
      ...event,
      txn: { userId: alice, deviceId: 'D', path: `/send/${roomId}`, txnId },
    }),
  )

/** Leaves; one whose answer was lost has left already when it asks again. */
const leave = (roomId: string, userId: string) =>
  insist(() =>
    pool.call('changeMembership', roomId, {
      sender: userId,
      target: userId,
      membership: 'leave',
      content: '{}',
    }),
  ).catch((error: unknown) => {
    if (!(error instanceof MatrixError) || error.errcode !== 'M_FORBIDDEN') throw error
  })

type Told = { acknowledged: Map<string, Landed>; delivered: string[] }

/** What happens in one room: messages and state of ours, members who come and go, events of others. */
async function live(room: MadeUpRoom, told: Told): Promise<void> {
  const { roomId } = room
  const local = async () => {
    for (let n = 0; n < rounds; n++) {
      const name = `${roomId} ${n}`
      const isState = n % 5 === 4
      const event = isState
        ? { type: 'test.state', stateKey: `${n % 3}`, content: JSON.stringify({ name }) }
        : { type: 'm.room.message', content: JSON.stringify({ body: name }) }
      told.acknowledged.set(name, await send(roomId, event, name))
    }
  }
  const guest = us.user('guest')
  const members = async () => {
    for (let n = 0; n < rounds / 5; n++) {
      await insist(() => pool.call('join', roomId, { userId: guest, content: '{}', via: [] }))
      await leave(roomId, guest)
    }
  }
  const remote = async () => {
    for (let n = 0; n < rounds / 2; n++) {
      const made = [room.say(mallory, `${n} a`), room.say(mallory, `${n} b`)]
      const texts = made.map(({ text }) => text)
      const entries = await store(database, roomId, there, texts)
      // Acknowledged from here on, whether or not the worker hears of it.
      told.delivered.push(...made.map(({ event }) => event.eventId))
      await pool.call('receive', roomId, entries).catch(() => {})
    }
  }
  await Promise.all([local(), members(), remote()])
}

/**
 * Cuts connections and ends workers, until it is told to stop or has done enough of it: a worker that
 * dies again and again is restarted after longer and longer pauses.
 */
async function harm(isOver: () => boolean): Promise<void> {
  for (let round = 1; round <= 4 || (round <= 50 && !isOver()); round++) {
    await Bun.sleep(60)
    await database.pool`
      select pg_terminate_backend(pid) from pg_stat_activity
      where datname = current_database() and application_name = 'laneway-rooms'
      order by random() limit 1`
    if (round === 4) deaths.postMessage({ share: 1 })
    if (round === 16 || round === 28) deaths.postMessage({ share: 0.6 })
  }
}

test('nothing acknowledged is lost or doubled, and no reader misses a row, whatever fails', async () => {
  await pool.start()
  const rooms: MadeUpRoom[] = []
  for (let n = 0; n < numberOfRooms; n++) {
    const roomId = await createRoom({ rooms: pool }, n % 2 === 0 ? '11' : '12')
    rooms.push(await joinFrom({ rooms: pool }, database, roomId, there, 'mallory'))
  }
  const readers = [
    new Reader(database.pool, () => committedVector(database.pool)),
    new Reader(database.pool, () => committedVector(database.pool)),
    // What was told is committed: nobody is told of what is not there yet.
    new Reader(database.pool, async () => new Map(announced)),
  ]
  const reading = readers.map((reader) => reader.run())
  const told: Told = { acknowledged: new Map(), delivered: [] }

  await breakCommits()
  let over = false
  const harming = harm(() => over)
  await Promise.all(rooms.map((room) => live(room, told)))
  over = true
  await harming
  await mendCommits()
  const waiting = async () => (await database.pool`select 1 from inbox limit 1`).length === 0
  await until(waiting)

  // One more event in each room: it goes on, and every position is told again.
  for (const { roomId } of rooms)
    told.acknowledged.set(
      `${roomId} last`,
      await send(roomId, { type: 'm.room.message', content: `{"body":"${roomId} last"}` }, 'last'),
    )
  for (const reader of readers) reader.stop()
  await Promise.all(reading)

  await expectOnce(told)
  const all = new Set((await rowsByPosition(database.pool)).map(({ id }) => id))
  for (const [index, { met }] of readers.entries()) {
    expect({ index, missed: [...all].filter((id) => !met.has(id)) }).toEqual({ index, missed: [] })
    expect([...met.values()].every((times) => times === 1)).toBe(true)
  }
  // The torture was one: workers died and commits failed.
  expect(faults.some((fault) => fault.includes('It ended'))).toBe(true)
  expect(backwards).toEqual([])
})

/** Everything acknowledged is stored once, where it was said to be, and nothing was put aside. */
async function expectOnce({ acknowledged, delivered }: Told): Promise<void> {
  const rows = await database.pool<
    { shard: number; position: number; event_id: Buffer; json: string }[]
  >`
    select e.shard, e.position, e.event_id, j.json
    from events e join event_json j on j.shard = e.shard and j.event_nid = e.event_nid
    where e.position is not null`
  const byId = new Map(rows.map((row) => [`$${row.event_id.toString('base64url')}`, row]))
  expect(byId.size).toBe(rows.length)
  const lost = [...acknowledged].filter(([, { eventId, shard, position }]) => {
    const row = byId.get(eventId)
    return row?.shard !== shard || row.position !== position
  })
  expect(lost).toEqual([])
  expect(delivered.filter((id) => !byId.has(id))).toEqual([])
  // Sent again after no answer came, an event is made once: every name is in one event.
  const names = rows.flatMap(({ json }) => {
    const { content } = JSON.parse(json) as { content: { body?: string; name?: string } }
    return content.name ?? content.body ?? []
  })
  const own = names.filter((name) => name.startsWith('!'))
  expect(new Set(own).size).toBe(own.length)
  expect(own.length).toBe(acknowledged.size)
  const places = rows.map(({ shard, position }) => `${shard} ${position}`)
  expect(new Set(places).size).toBe(places.length)
  expect([...(await database.pool`select error from inbox_quarantine`)]).toEqual([])
}

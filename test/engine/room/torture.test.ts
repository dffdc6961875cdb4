import { expect, test } from 'bun:test'
import { commit } from '#store/room/commit.ts'
import type { Pool } from '#store/db.ts'
import { testDatabase } from '#test/database.ts'
import {
  createRoom,
  deliver,
  inboxIsEmpty,
  joinFrom,
  openStage,
  say,
  setState,
  until,
} from '#test/room-engine.ts'
import { mallory, there } from './scene.ts'

const database = await testDatabase()

/** Follows every shard as /sync does: by what it was told, and by looking for itself. */
class Reader {
  readonly #pool: Pool
  readonly #passed = new Map<number, number>()
  readonly seen = new Map<number, Set<string>>()
  readonly late: string[] = []
  #stopped = false

  constructor(pool: Pool) {
    this.#pool = pool
  }

  async run(): Promise<void> {
    while (!this.#stopped) {
      await this.look()
      await Bun.sleep(Math.random() * 2)
    }
  }

  /** One database snapshot: the positions, and all rows up to them. */
  async look(): Promise<void> {
    await this.#pool.begin('isolation level repeatable read read only', async (sql) => {
      const positions = await sql<{ shard: number; position: number }[]>`
        select shard, position from room_shards where position > 0`
      const rows = await sql<{ shard: number; position: number; id: string }[]>`
        select shard, position, 'e' || event_nid as id from events where position is not null
        union all
        select shard, position, 'd' || position || ' ' || room_nid || ' ' || state_key_nid
        from state_deltas`
      for (const { shard, position, id } of rows) {
        const seen = this.seen.get(shard) ?? new Set()
        this.seen.set(shard, seen)
        if (seen.has(id)) continue
        seen.add(id)
        if (position <= (this.#passed.get(shard) ?? 0))
          this.late.push(`${shard}: ${position} ${id}`)
      }
      for (const { shard, position } of positions) {
        const highest = rows.filter((row) => row.shard === shard).map((row) => row.position)
        if (Math.max(0, ...highest) > position) this.late.push(`${shard}: a row above ${position}`)
        this.#passed.set(shard, position)
      }
    })
  }

  stop(): void {
    this.#stopped = true
  }
}

test('readers never find a row at or below a position that they have passed, though commits fail', async () => {
  let attempts = 0
  const lost = () => Object.assign(new Error('gone'), { code: 'CONNECTION_CLOSED' })
  const broken = () => Object.assign(new Error('a bad row'), { code: '22P02' })
  await using stage = await openStage(database, [there], {
    commit: async (pool, batch) => {
      const turn = ++attempts % 7
      // Before it, after it, and for what is in it.
      if (turn === 1) throw lost()
      if (turn === 3 && batch.parts.length > 1) throw broken()
      await commit(pool, batch)
      if (turn === 5) throw lost()
    },
  })
  const rooms = await Promise.all(Array.from({ length: 12 }, () => createRoom(stage)))
  const theirs = await Promise.all(
    rooms.slice(0, 6).map((roomId) => joinFrom(stage, database, roomId, there, 'mallory')),
  )
  const readers = [new Reader(database.pool), new Reader(database.pool)]
  const reading = readers.map((reader) => reader.run())
  const answered: string[] = []
  const writers = rooms.map(async (roomId, index) => {
    const room = theirs[index]
    for (let i = 0; i < 15; i++) {
      const text = room?.say(mallory, `${i}`).text
      const [landed] = await Promise.all([
        i % 5 === 4
          ? setState(stage, roomId, 'm.room.topic', { topic: `${i}` })
          : say(stage, roomId, `${i}`),
        text === undefined ? null : deliver(stage, database, roomId, there, [text]),
      ])
      answered.push(`${landed.shard} ${landed.position} ${landed.eventId}`)
    }
  })
  await Promise.all(writers)
  await Promise.all(rooms.map((roomId) => until(inboxIsEmpty(database, roomId))))
  for (const reader of readers) reader.stop()
  await Promise.all(reading)
  for (const reader of readers) {
    await reader.look()
    expect(reader.late).toEqual([])
  }
  // Everything answered is there, once, at the position that was told.
  const rows = await database.pool<{ shard: number; position: number; event_id: Buffer }[]>`
    select shard, position, event_id from events where position is not null`
  const there_ = new Set(
    rows.map((row) => `${row.shard} ${row.position} $${row.event_id.toString('base64url')}`),
  )
  expect(answered.filter((each) => !there_.has(each))).toEqual([])
  expect(new Set(answered).size).toBe(12 * 15)
  const told = stage.signals.flatMap((signal) => (signal.s === 'rooms-at' ? signal.positions : []))
  const last = new Map<number, number>()
  for (const [shard, position] of told) {
    expect(position).toBeGreaterThanOrEqual(last.get(shard) ?? 0)
    last.set(shard, position)
  }
  expect(stage.fatal).toEqual([])
})

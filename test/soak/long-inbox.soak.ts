import { expect, test } from 'bun:test'
import { shardOf } from '#core/shard.ts'
import { commit } from '#store/room/commit.ts'
import * as inbox from '#store/room/inbox.ts'
import { graphOf } from '#store/room/inbox-thinning.ts'
import type { Made } from '#test/builders.ts'
import { testDatabase } from '#test/database.ts'
import { mallory, openScene, there } from '#test/engine/room/scene.ts'
import { Told } from '#test/engine/room/told.ts'
import {
  createRoom,
  deliver,
  inboxIsEmpty,
  joinFrom,
  openStage,
  stored,
  until,
} from '#test/room-engine.ts'

const rows = Number(process.env['LANEWAY_ROWS'] ?? 100_000)
const perStatement = 500
const database = await testDatabase()

/** Puts them in as the intake does where a room is behind. */
async function leave(roomId: string, made: readonly Made[]): Promise<void> {
  const txnId = crypto.randomUUID()
  const transaction = {
    origin: there.name,
    txnId,
    answer: '{}',
    rows: made.map(({ event, text: json }) => ({
      shard: shardOf(roomId),
      roomId,
      json,
      graph: graphOf(event),
    })),
  }
  await inbox.receive(database.pool, [transaction], Date.now())
}

test('a start with very many rows of one room: others go first, it is thinned, and gets to its end', async () => {
  const scene = await openScene(database)
  const { roomId, room } = scene
  const told = new Told(room)
  let last: Made | undefined
  for (let from = 0; from < rows; from += perStatement) {
    const some = Array.from({ length: perStatement }, (_, i) => room.say(mallory, `${from + i}`))
    await leave(roomId, some)
    last = some.at(-1)
  }
  const quiet: [roomId: string, eventId: string][] = []
  for (let n = 0; n < 50; n++) {
    const id = await createRoom(scene)
    const { event, text } = (await joinFrom(scene, database, id, there, 'mallory')).say(
      mallory,
      'hello',
    )
    await database.pool`
      insert into inbox (shard, room_id, origin, json, received_at)
      values (${shardOf(id)}, ${id}, ${there.name}, ${text}, 1)`
    quiet.push([id, event.eventId])
  }
  await scene.stop()

  const peak = { rows: 0, bytes: 0, rss: 0 }
  let [dropped, worked] = [0, 0]
  const before = process.memoryUsage.rss()
  await using stage = await openStage(database, [there], {
    onThin: (_, count) => (dropped += count),
    commit: async (pool, batch) => {
      const { engine } = stage
      peak.rows = Math.max(peak.rows, engine.lane(roomId).inbound.length)
      peak.bytes = Math.max(peak.bytes, engine.parts.memory.gauges().inboxBytes)
      peak.rss = Math.max(peak.rss, process.memoryUsage.rss() - before)
      await commit(pool, batch)
    },
  })
  stage.federation.answer = told.answer
  for (const [id, eventId] of quiet) {
    await until(inboxIsEmpty(database, id))
    expect(await stored(database, id, eventId)).toMatchObject({ flags: 0 })
  }
  worked = stage.engine.counters()['accepted']!
  expect(worked).toBeLessThan(rows / 4)
  await until(inboxIsEmpty(database, roomId))
  const { thinAbove, thinKeep, thinNewest, laneEvents, laneBytes, parkedPerRoom } =
    stage.engine.parts.limits
  console.log({ rows, dropped, worked, peak, ...stage.engine.counters() })
  if (rows > thinAbove)
    expect(dropped).toBeGreaterThan(rows - thinKeep - thinNewest - laneEvents - 1)
  expect(peak.rows).toBeLessThanOrEqual(laneEvents + parkedPerRoom)
  expect(peak.bytes).toBeLessThan(60 * laneBytes)
  expect(await stored(database, roomId, last!.event.eventId)).toMatchObject({ flags: 0 })
  // It goes on from there.
  const next = room.say(mallory, 'and on')
  await deliver(stage, database, roomId, there, [next.text])
  await until(inboxIsEmpty(database, roomId))
  expect(await stored(database, roomId, next.event.eventId)).toMatchObject({ flags: 0 })
  expect(stage.errors).toEqual([])
}, 1_800_000)

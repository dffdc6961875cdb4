import { beforeEach, expect, test } from 'bun:test'
import { Backlog } from '#engine/federation/backlog.ts'
import { silentLog } from '#src/log.ts'
import { testDatabase } from '#test/database.ts'
import { until } from '#test/until.ts'

const { pool: sql } = await testDatabase()
const limits = { maxBacklog: 500, roomSlow: 50, roomRefuse: 100, roomMost: 200, maxPauseMs: 1_000 }

beforeEach(async () => {
  await sql`truncate inbox`
})

const wait = async (roomId: string, origin: string, count: number, json = '{}') => {
  await sql`
  insert into inbox (shard, room_id, origin, json, received_at)
  select 1, ${roomId}, ${origin}, ${json}, 1 from generate_series(1, ${count}::integer)`
}

/** What is counted. */
async function counted(): Promise<Backlog> {
  const backlog = new Backlog(sql, silentLog, limits)
  backlog.pressure('nobody', [])
  await until(() => backlog.gauges().backlog > 0)
  return backlog
}

const nothing = { pauseMs: 0, full: new Set<string>() }

test('a room that is behind slows those down who flood it, in it alone, and nobody else', async () => {
  await wait('!flooded', 'flood', 70)
  await wait('!flooded', 'good', 5)
  await wait('!quiet', 'good', 3)
  const backlog = await counted()
  expect(backlog.pressure('flood', ['!quiet', '!flooded'])).toEqual({ ...nothing, pauseMs: 500 })
  expect(backlog.pressure('flood', ['!quiet'])).toEqual(nothing)
  expect(backlog.pressure('good', ['!flooded', '!quiet'])).toEqual(nothing)
  expect(backlog.pressure('new', ['!flooded'])).toEqual(nothing)
  expect(backlog.gauges()).toEqual({
    backlog: 78,
    backlogOrigins: 2,
    roomsBehind: 1,
    longestBacklog: 75,
  })
})

test('further behind it refuses them, and in the end takes nothing of the room from anybody', async () => {
  await wait('!flooded', 'flood', 150)
  await wait('!flooded', 'good', 5)
  let backlog = await counted()
  expect(backlog.pressure('flood', ['!flooded'])).toMatchObject({ refusal: 'room_backlog' })
  expect(backlog.pressure('good', ['!flooded', '!quiet'])).toEqual(nothing)
  await wait('!flooded', 'flood', 50)
  backlog = await counted()
  const full = new Set(['!flooded'])
  expect(backlog.pressure('good', ['!flooded', '!quiet'])).toEqual({ pauseMs: 0, full })
  expect(backlog.pressure('flood', ['!quiet'])).toEqual(nothing)
})

test('many servers that send as much each are all slowed down', async () => {
  for (let n = 0; n < 10; n++) await wait('!flooded', `o${n}`, 7)
  const backlog = await counted()
  for (let n = 0; n < 10; n++)
    expect(backlog.pressure(`o${n}`, ['!flooded']).pauseMs).toBeGreaterThan(0)
})

test('few long events weigh as much as many short ones', async () => {
  await wait('!flooded', 'flood', 5, 'x'.repeat(60_000))
  const backlog = await counted()
  expect(backlog.pressure('flood', ['!flooded']).pauseMs).toBeGreaterThan(0)
})

test('a server with too much in all rooms together is refused everywhere', async () => {
  for (let n = 0; n < 20; n++) await wait(`!room${n}`, 'flood', 30)
  const backlog = await counted()
  expect(backlog.pressure('flood', ['!elsewhere'])).toMatchObject({ refusal: 'backlog' })
  expect(backlog.pressure('good', ['!room0'])).toEqual(nothing)
})

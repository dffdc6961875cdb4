import { describe, expect, test } from 'bun:test'
import { testDatabase } from '#test/database.ts'
import { createRoom, openStage, say, type Stage } from '#test/room-engine.ts'
import {
  endImport,
  ghost,
  messages,
  openImport,
  person,
  sendBatch,
  type Wish,
} from './importing.ts'

const db = await testDatabase()
const ann = ghost('ann')
const messageDepth = 2 ** 42

async function imported(stage: Stage, roomId: string, prefix: string, wish: Wish): Promise<void> {
  const { session_id: session } = await openImport(stage, roomId, { source: prefix, ...wish })
  const records = messages(prefix, ann, 3)
  await sendBatch(stage, roomId, session, 0, { records, people: [person(ann)] })
  await endImport(stage, roomId, session, 'commit')
}

/** The texts of a room as a server orders them that knows nothing but depths. */
async function byDepth(roomId: string): Promise<string[]> {
  const rows = await db.pool<{ json: string }[]>`
    select j.json from rooms r join events e using (shard, room_nid)
    join event_json j on j.shard = e.shard and j.event_nid = e.event_nid
    where r.room_id = ${roomId} order by e.depth`
  return rows.flatMap(({ json }) => JSON.parse(json).content.body ?? [])
}

const depthsOf = async (roomId: string): Promise<number[]> => {
  const rows = await db.pool<{ depth: number }[]>`
    select e.depth from rooms r join events e using (shard, room_nid)
    where r.room_id = ${roomId} order by e.depth`
  return rows.map(({ depth }) => depth)
}

describe('a room whose messages leave numbers free before them', () => {
  test('has each import in its place by depth alone, one import after the other', async () => {
    await using stage = await openStage(db, [], { limits: { messageDepth } })
    const roomId = await createRoom(stage)
    for (const text of ['one', 'two']) await say(stage, roomId, text)
    const atStart: Wish = { position: { atStart: true } }
    await imported(stage, roomId, 'b', atStart)
    await imported(stage, roomId, 'a', atStart)
    await say(stage, roomId, 'three')
    const all = ['a0', 'a1', 'a2', 'b0', 'b1', 'b2', 'one', 'two', 'three']
    expect(await byDepth(roomId)).toEqual(all)
    const depths = await depthsOf(roomId)
    expect(depths.filter((depth) => depth < 100).length).toBeGreaterThan(3)
    expect(depths.at(-1)!).toBeGreaterThan(messageDepth)
    expect(depths.at(-1)!).toBeLessThan(messageDepth + 20)
    expect(stage.errors).toEqual([])
  })

  test('keeps some of them before and after what it begins with', async () => {
    await using stage = await openStage(db, [], { limits: { messageDepth } })
    const roomId = await createRoom(stage)
    await imported(stage, roomId, 'b', { mode: 'fresh' })
    await say(stage, roomId, 'one')
    await imported(stage, roomId, 'a', { position: { atStart: true } })
    expect(await byDepth(roomId)).toEqual(['a0', 'a1', 'a2', 'b0', 'b1', 'b2', 'one'])
  })
})

test('a room is numbered as usual where nobody asked for more', async () => {
  await using stage = await openStage(db)
  const roomId = await createRoom(stage)
  await imported(stage, roomId, 'b', { mode: 'fresh' })
  await say(stage, roomId, 'one')
  const depths = await depthsOf(roomId)
  expect(depths).toEqual(depths.map((_, index) => index + 1))
})

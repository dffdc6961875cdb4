import { describe, expect, test } from 'bun:test'
import { testDatabase } from '#test/database.ts'
import { alice, createRoom, openStage, say, type Stage } from '#test/room-engine.ts'
import {
  endImport,
  ghost,
  message,
  messages,
  openImport,
  person,
  sendBatch,
  type Wish,
} from './importing.ts'

const db = await testDatabase()

/** What members read, oldest first: the texts of messages, and the types of what is none. */
async function read(roomId: string): Promise<string[]> {
  const rows = await db.pool<{ json: string; state: boolean }[]>`
    select j.json, e.state_key_nid is not null as state
    from rooms r
    join spans s on s.shard = r.shard and s.room_nid = r.room_nid and not s.hidden
    join events e on e.shard = s.shard and e.chain = s.chain
      and (s.from_index is null or e.chain_index >= s.from_index)
      and (s.to_index is null or e.chain_index <= s.to_index)
    join event_json j on j.shard = e.shard and j.event_nid = e.event_nid
    where r.room_id = ${roomId} order by s.order_key, e.chain_index`
  return rows.flatMap(({ json, state }) => {
    const { type, content } = JSON.parse(json)
    return state ? [] : [type === 'm.room.message' ? content.body : type]
  })
}

async function imported(
  stage: Stage,
  roomId: string,
  records: ReturnType<typeof messages>,
  wish: Wish = {},
) {
  const { session_id: session } = await openImport(stage, roomId, wish)
  await sendBatch(stage, roomId, session, 0, { records, people: [person(ghost('ann'))] })
  await endImport(stage, roomId, session, 'commit')
  return session
}

const merge = 'org.laneway.import.merge'

describe('where an import is read', () => {
  test('a fresh room has it as its history, in order', async () => {
    await using stage = await openStage(db)
    const roomId = await createRoom(stage)
    await imported(stage, roomId, messages('m', ghost('ann'), 5), { mode: 'fresh' })
    await say(stage, roomId, 'now')
    expect(await read(roomId)).toEqual(['m0', 'm1', 'm2', 'm3', 'm4', merge, 'now'])
    expect(stage.errors).toEqual([])
    expect(stage.fatal).toEqual([])
  })

  test('before, after, at the start, and by time', async () => {
    await using stage = await openStage(db)
    const roomId = await createRoom(stage)
    await say(stage, roomId, 'one')
    const { eventId: two } = await say(stage, roomId, 'two')
    await say(stage, roomId, 'three')
    const ann = ghost('ann')
    await imported(stage, roomId, messages('b', ann, 2), { source: 'b', position: { before: two } })
    await imported(stage, roomId, messages('a', ann, 2), { source: 'a', position: { after: two } })
    await imported(stage, roomId, messages('s', ann, 2), {
      source: 's',
      position: { atStart: true },
    })
    const soon = Date.now() + 60_000
    await imported(stage, roomId, [message('t', ann, 5)], {
      source: 't',
      position: { byTime: true },
    })
    await imported(stage, roomId, [message('e', ann, soon)], {
      source: 'e',
      position: { byTime: true },
    })
    const order = (await read(roomId)).filter((body) => body !== merge)
    expect(order).toEqual(['t', 's0', 's1', 'one', 'b0', 'b1', 'two', 'a0', 'a1', 'three', 'e'])
    expect(stage.errors).toEqual([])
  })

  test('two into the same gap are both in order, also in the middle of each other', async () => {
    await using stage = await openStage(db)
    const roomId = await createRoom(stage)
    await say(stage, roomId, 'one')
    const { eventId: two } = await say(stage, roomId, 'two')
    const ann = ghost('ann')
    const first = messages('x', ann, 4, 1_000_000)
    const second = messages('y', ann, 2, 1_002_500)
    const wish: Wish = { position: { before: two } }
    await imported(stage, roomId, first, { ...wish, source: 'x' })
    await imported(stage, roomId, second, { source: 'y', position: { byTime: true } })
    await imported(stage, roomId, messages('z', ann, 2), { ...wish, source: 'z' })
    const order = (await read(roomId)).filter((body) => body !== merge)
    expect(order).toEqual(['one', 'x0', 'x1', 'x2', 'y0', 'y1', 'x3', 'z0', 'z1', 'two'])
  })

  test('the room goes on with one extremity, and its state is what it was but for who spoke', async () => {
    await using stage = await openStage(db)
    const roomId = await createRoom(stage)
    const before = await stateOf(roomId)
    await say(stage, roomId, 'one')
    await imported(stage, roomId, messages('m', ghost('ann'), 3), { position: { atStart: true } })
    await say(stage, roomId, 'two')
    const heads = await db.pool`
      select from extremities x join rooms r using (shard, room_nid) where r.room_id = ${roomId}`
    expect(heads.length).toBe(1)
    const after = await stateOf(roomId)
    const ann = `m.room.member ${ghost('ann')}`
    expect(after.get(ann)).toBe('leave')
    const marker = [...after.keys()].find((key) => key.startsWith('org.matrix.msc2716.marker'))
    expect(marker).toBeDefined()
    after.delete(ann)
    after.delete(marker!)
    expect(after).toEqual(before)
    expect(alice).toBeDefined()
  })
})

async function stateOf(roomId: string): Promise<Map<string, string>> {
  const rows = await db.pool<{ json: string }[]>`
    select j.json from rooms r
    join current_state s on s.shard = r.shard and s.room_nid = r.room_nid
      and s.generation = r.generation
    join event_json j on j.shard = s.shard and j.event_nid = s.event_nid
    where r.room_id = ${roomId}`
  return new Map(
    rows.map(({ json }) => {
      const event = JSON.parse(json)
      return [`${event.type} ${event.state_key}`, event.content.membership ?? '']
    }),
  )
}

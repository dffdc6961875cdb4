import { beforeAll, expect, test } from 'bun:test'
import { testDatabase } from '#test/database.ts'
import type { NewEvent, RoomPart } from '#store/room/batch.ts'
import { isLeaseLost, stage } from '#store/room/commit.ts'
import { makeWhole } from '#store/room/snapshots.ts'
import { StateMap } from '#store/room/state-map.ts'
import { failure, next, Owner } from './fixtures.ts'

const db = await testDatabase()
const sql = db.pool
let owner: Owner
let room: RoomPart
let snapshotNid: number
let chain: number
beforeAll(async () => {
  owner = await Owner.of(sql, [1])
  room = owner.room(1)
  snapshotNid = owner.shard(1).nextNid()
  chain = owner.shard(1).nextNid()
  const state = StateMap.from([[40, 41]])
  room.snapshots.push(makeWhole(snapshotNid, room.roomNid, state).row)
  await owner.commit(room)
})

/** Events as an import has them, in a part that is not committed. */
function messages(count: number, from: number): { part: RoomPart; events: NewEvent[] } {
  const part = next(room)
  for (let n = 0; n < count; n++)
    owner.event(part, {
      typeNid: 7 + n,
      senderNid: 2 ** 40 + n,
      depth: 2 ** 50 + n,
      originServerTs: 1_400_000_000_000 + n,
      chain,
      chainIndex: from + n,
      position: null,
      ingest: null,
      snapshotNid,
      prevNids: n === 1 ? [] : [5 + n, 6],
      authNids: n === 2 ? [] : [7, 8 + n],
      json: `{"content":{"body":"${n} \\u001e ünïcode"}}`,
    })
  return { part, events: part.events }
}

const staged = (events: readonly NewEvent[]) => ({
  shard: 1,
  roomNid: room.roomNid,
  chain,
  snapshotNid,
  events,
  redactions: [],
})

const stored = (events: readonly NewEvent[]) => sql`
  select e.*, j.json, j.internal, i.shard as id_shard from events e
  join event_json j using (shard, event_nid)
  join event_ids i on i.event_id = e.event_id and i.event_nid = e.event_nid
  where e.shard = 1 and e.event_nid = any(${events.map(({ eventNid }) => eventNid)}::bigint[])
  order by e.chain_index`

const refs = async () =>
  (
    await sql<{ refs: number }[]>`select refs from snapshots where snapshot_nid = ${snapshotNid}`
  )[0]!.refs

test('what is staged is stored as a commit stores it', async () => {
  const epoch = owner.shard(1).epoch
  const before = await refs()
  const { events } = messages(4, 0)
  await stage(sql, { shard: 1, epoch }, staged(events), () => [])
  expect(await refs()).toBe(before + 4)
  const committed = messages(4, 100)
  await owner.commit(committed.part)
  const [here, there] = [await stored(events), await stored(committed.events)]
  expect(here).toHaveLength(4)
  const own = { event_nid: 0, event_id: 0, chain_index: 0 }
  expect(here.map((row) => ({ ...row, ...own }))).toEqual(there.map((row) => ({ ...row, ...own })))
  expect(here.map((row) => row['chain_index'])).toEqual([0, 1, 2, 3])
  expect(here.map((row) => Buffer.from(row['event_id'] as Uint8Array))).toEqual(
    events.map(({ eventId }) => Buffer.from(eventId)),
  )
})

test('nothing is staged under a lease that was lost, on a state that is not there, or in part', async () => {
  const epoch = owner.shard(1).epoch
  const { events } = messages(2, 10)
  const lost = await failure(stage(sql, { shard: 1, epoch: epoch + 1 }, staged(events), () => []))
  expect(isLeaseLost(lost)).toBe(true)
  const nowhere = { ...staged(events), snapshotNid: owner.shard(1).nextNid() }
  expect(await failure(stage(sql, { shard: 1, epoch }, nowhere, () => []))).toMatchObject({
    code: 'LW003',
  })
  const also = failure(
    stage(sql, { shard: 1, epoch }, staged(events), (inner) => [inner`select 1 / 0`]),
  )
  expect(await also).toMatchObject({ code: '22012' })
  expect(await stored(events)).toHaveLength(0)
})

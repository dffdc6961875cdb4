import { beforeAll, describe, expect, test } from 'bun:test'
import { randomUUID } from 'node:crypto'
import { testDatabase } from '#test/database.ts'
import { eventFlags } from '#store/room/batch.ts'
import { commit } from '#store/room/commit.ts'
import * as intern from '#store/room/intern.ts'
import { packEventId } from '#store/room/event-id.ts'
import { outcomeOf } from '#store/room/shards.ts'
import { Owner, failure, next } from './fixtures.ts'

const db = await testDatabase()
const sql = db.pool
let owner: Owner
beforeAll(async () => {
  owner = await Owner.of(sql, [1, 2, 3])
})

const alice = { userNid: 501, serverNid: 71, senderNid: 501 }
describe('a commit', () => {
  test('writes events of many rooms, and the counters of their shards', async () => {
    const one = owner.room(1)
    const two = owner.room(2)
    const first = owner.event(one, {
      json: '{"content":{"body":"a \\u0000 \\"quoted\\" ünïcode"},"__proto__":1}',
      prevNids: [5, 6],
      authNids: [7],
      rejection: 'because',
      flags: eventFlags.rejected,
      internal: '{}',
    })
    const second = owner.event(two, { depth: 2 ** 53 - 1, originServerTs: -(2 ** 53) + 1 })
    const batch = await owner.commit(one, two)

    const [row] = await sql`
      select e.*, j.json, j.internal, r.reason from events e
      join event_json j using (shard, event_nid) left join rejections r using (shard, event_nid)
      where e.event_nid = ${first.eventNid}`
    expect(row).toMatchObject({
      shard: 1,
      room_nid: one.roomNid,
      prev_nids: [5, 6],
      auth_nids: [7],
      position: first.position,
      json: first.json,
      internal: '{}',
      reason: 'because',
      flags: 1,
    })
    const [other] = await sql`select * from events where event_nid = ${second.eventNid}`
    expect(other).toMatchObject({ depth: 2 ** 53 - 1, origin_server_ts: -(2 ** 53) + 1 })
    const [id] = await sql`select * from event_ids where event_id = ${second.eventId as Buffer}`
    expect(id).toMatchObject({ shard: 2, event_nid: second.eventNid })
    const counters = await sql`select * from room_shards where shard in (1, 2) order by shard`
    expect(counters.map(({ batch }) => String(batch))).toEqual([batch.id, batch.id])
    expect(counters[1]).toMatchObject({
      position: owner.shard(2).position,
      counter: owner.shard(2).counter,
      ingest: owner.shard(2).ingest,
    })
  })

  test('leaves the last of several changes to the same key, and logs every one', async () => {
    const room = owner.room(1)
    const a = owner.state(room, 40, null)
    const b = owner.state(room, 40, a.eventNid)
    const c = owner.state(room, 41, null)
    await owner.commit(room)
    const gone = next(room)
    gone.state.push({
      position: owner.shard(1).nextPosition(),
      typeNid: 2,
      stateKeyNid: 41,
      oldEventNid: c.eventNid,
      newEventNid: null,
      member: null,
    })
    const d = owner.state(gone, 40, b.eventNid)
    await owner.commit(gone)

    const state = await sql`
      select state_key_nid, event_nid from current_state where room_nid = ${room.roomNid}`
    expect([...state]).toEqual([{ state_key_nid: 40, event_nid: d.eventNid }])
    const log = await sql`
      select state_key_nid, old_event_nid, new_event_nid from state_deltas
      where room_nid = ${room.roomNid} order by position`
    expect(log.map((row) => Object.values(row))).toEqual([
      [40, null, a.eventNid],
      [40, a.eventNid, b.eventNid],
      [41, null, c.eventNid],
      [41, c.eventNid, null],
      [40, b.eventNid, d.eventNid],
    ])
  })

  test('keeps memberships, servers and counts of members in step', async () => {
    const room = owner.room(2)
    const join = owner.state(room, 50, null, { ...alice, old: null, new: 'join' })
    owner.state(room, 51, null, {
      userNid: 502,
      serverNid: 71,
      senderNid: 501,
      old: null,
      new: 'invite',
    })
    await owner.commit(room)
    expect(await facts()).toEqual({
      members: ['501 join', '502 invite'],
      servers: ['71 1'],
      counts: [1, 1],
    })

    const later = next(room)
    const leave = owner.state(later, 50, join.eventNid, { ...alice, old: 'join', new: 'leave' })
    owner.state(later, 50, leave.eventNid, { ...alice, old: 'leave', new: 'ban' })
    owner.state(later, 51, null, {
      userNid: 502,
      serverNid: 72,
      senderNid: 502,
      old: 'invite',
      new: 'join',
    })
    later.state.push({
      position: owner.shard(2).nextPosition(),
      typeNid: 2,
      stateKeyNid: 50,
      oldEventNid: leave.eventNid,
      newEventNid: null,
      member: { ...alice, old: 'ban', new: null },
    })
    await owner.commit(later)
    expect(await facts()).toEqual({
      members: ['501 none', '502 join'],
      servers: ['71 0', '72 1'],
      counts: [1, 0],
    })

    async function facts() {
      const members = await sql`
        select user_nid || ' ' || membership as text from memberships
        where room_nid = ${room.roomNid} order by 1`
      const servers = await sql`
        select server_nid || ' ' || joined as text from room_servers
        where room_nid = ${room.roomNid} order by 1`
      const [counts] = await sql`
        select joined_members, invited_members from rooms where room_nid = ${room.roomNid}`
      return {
        members: members.map((row) => String(row['text'])),
        servers: servers.map((row) => String(row['text'])),
        counts: Object.values(counts!).map(Number),
      }
    }
  })

  test('takes extremities and missing events that come and go in one batch for nothing', async () => {
    const room = owner.room(1)
    const [a, b, c] = [owner.event(room), owner.event(room), owner.event(room)]
    const there = packEventId('$there:x')
    const lost = packEventId('$lost:x')
    room.extremities.added.push(a.eventNid, b.eventNid, c.eventNid)
    room.extremities.removed.push(a.eventNid)
    room.missing.added.push(
      { eventId: there, childNid: b.eventNid },
      { eventId: lost, childNid: b.eventNid },
    )
    room.missing.arrived.push(there)
    await owner.commit(room)
    const later = next(room)
    later.extremities.removed.push(b.eventNid)
    await owner.commit(later)
    const left = await sql`select event_nid from extremities where room_nid = ${room.roomNid}`
    expect([...left]).toEqual([{ event_nid: c.eventNid }])
    const missing = await sql`
      select event_id, child_nid from missing_prevs where room_nid = ${room.roomNid}`
    expect([...missing]).toEqual([{ event_id: Buffer.from(lost), child_nid: b.eventNid }])
  })

  test('keeps places of chains that grew towards older', async () => {
    const room = owner.room(3)
    const places = [-2, -1, 0]
    for (const chainIndex of places) owner.event(room, { chain: 11, chainIndex })
    await owner.commit(room)
    const rows = await sql`select chain_index from events where chain = 11 order by event_nid`
    expect(rows.map((row) => row['chain_index'])).toEqual(places)
  })

  test('writes the rest of the tables', async () => {
    const room = owner.room(3)
    const event = owner.event(room, { chain: 9, chainIndex: -3, snapshotNid: 1000 })
    const target = packEventId('$target:x')
    room.snapshots.push({
      snapshotNid: 1000,
      baseNid: null,
      height: 0,
      entries: 1,
      hash: new Uint8Array(16),
      packed: new Uint8Array([1, 2, 3]),
    })
    room.spans.push({
      orderKey: new Uint8Array([128]),
      chain: 9,
      from: null,
      to: null,
      gap: ['$a:b'],
      hidden: false,
    })
    room.importChains.push({ chain: 77, publishedAt: null, hiddenAt: null })
    room.auth.push({ eventNid: event.eventNid, order: 4, parents: [1, 2] })
    room.redactions.push({ targetId: target, redactionNid: event.eventNid, applied: false })
    room.mentions.push({ position: event.position!, userNid: 5 })
    room.txns.push({
      userId: '@a:b',
      deviceId: 'D',
      path: 'send',
      txnId: '1',
      eventNid: event.eventNid,
      sentAt: 17,
    })
    const [inbox] = await sql<{ inbox_id: number }[]>`
      insert into inbox (shard, room_id, origin, json, received_at)
      values (3, '!x', 'b', '{}', 1) returning inbox_id`
    room.inbox.push(inbox!.inbox_id)
    await owner.commit(room)

    const second = next(room)
    owner.event(second, { snapshotNid: 1001 })
    second.snapshots.push({
      snapshotNid: 1001,
      baseNid: 1000,
      height: 1,
      entries: 2,
      hash: new Uint8Array(16),
      packed: new Uint8Array(5),
    })
    second.redactions.push({ targetId: target, redactionNid: event.eventNid, applied: true })
    second.spans.push({ ...room.spans[0]!, to: 4, gap: [] })
    second.importChains.push({ chain: 77, publishedAt: 8, hiddenAt: null })
    second.room = { partial: true }
    await owner.commit(second)

    const rows = await sql`
      select
        (select json_agg(json_build_array(snapshot_nid, refs) order by snapshot_nid)
          from snapshots where room_nid = ${room.roomNid}) as snapshots,
        (select json_agg(s) from spans s where room_nid = ${room.roomNid}) as spans,
        (select published_at from import_chains where chain = 77) as published,
        (select parents from auth_graph where room_nid = ${room.roomNid}) as parents,
        (select bool_and(applied) from redactions where room_nid = ${room.roomNid}) as applied,
        (select count(*) from mentions where room_nid = ${room.roomNid}) as mentions,
        (select event_nid from local_txns where user_id = '@a:b') as txn,
        (select count(*) from inbox where shard = 3) as inbox,
        (select partial from rooms where room_nid = ${room.roomNid}) as partial`
    expect(rows[0]).toMatchObject({
      snapshots: [
        [1000, 2],
        [1001, 1],
      ],
      spans: [{ order_key: '\\x80', chain: 9, from_index: null, to_index: 4, gap: null }],
      published: 8,
      parents: [1, 2],
      applied: true,
      mentions: 1,
      txn: event.eventNid,
      inbox: 0,
      partial: true,
    })
  })

  test('that builds on a snapshot which is not there fails', async () => {
    const room = owner.room(1)
    owner.event(room, { snapshotNid: 123_456_769 })
    const batch = owner.batch(room)
    expect(await failure(commit(sql, batch))).toMatchObject({ code: 'LW003' })
    const { shards } = await outcomeOf(sql, [1], batch.id)
    owner.shard(1).reset(shards[0]!)
  })

  test('of a thousand events is one transaction', async () => {
    const rooms = Array.from({ length: 10 }, () => owner.room(1))
    for (let i = 0; i < 1000; i++) owner.state(rooms[i % 10]!, 1000 + i, null)
    await owner.commit(...rooms)
    const [count] = await sql`
      select count(*)::int as events, count(distinct e.xmin::text)::int as transactions
      from events e where room_nid = any(${rooms.map(({ roomNid }) => roomNid)})`
    expect(count).toEqual({ events: 1000, transactions: 1 })
  })

  test.each(['{"a":"\u001e"}', '{"a":"\ud800"}'])(
    'refuses a text that is no JSON: %j',
    async (json) => {
      const room = owner.room(1)
      owner.event(room, { json })
      const batch = owner.batch(room)
      expect(await failure(commit(sql, batch))).toHaveProperty(
        'message',
        'The text of an event is not JSON',
      )
      expect(await outcomeOf(sql, [1], batch.id)).toMatchObject({ committed: false })
      owner = await Owner.of(sql, [1, 2, 3])
    },
  )

  test('writes nothing at all if one row fails', async () => {
    const room = owner.room(1)
    const a = owner.state(room, 60, null)
    owner.event(room, { eventId: a.eventId })
    const before = await sql`select * from room_shards where shard = 1`
    const batch = owner.batch(room)
    expect(await failure(commit(sql, batch))).toMatchObject({ code: '23505' })
    expect([...(await sql`select * from room_shards where shard = 1`)]).toEqual([...before])
    expect(await sql`select 1 from rooms where room_nid = ${room.roomNid}`).toHaveLength(0)
    const { committed, shards } = await outcomeOf(sql, [1], batch.id)
    expect(committed).toBeFalse()
    owner.shard(1).reset(shards[0]!)
  })
})

describe('a revised event', () => {
  test('gets a place, and never a second one', async () => {
    const room = owner.room(1)
    const outlier = owner.event(room, {
      position: null,
      flags: eventFlags.outlier | eventFlags.softFailed,
      rejection: 'too early',
    })
    await owner.commit(room)
    const placed = {
      eventNid: outlier.eventNid,
      chain: 5000,
      chainIndex: 1,
      position: owner.shard(1).nextPosition(),
      ingest: owner.shard(1).nextIngest(),
      flags: 0,
      snapshotNid: null,
      destinationSet: null,
      pushFlags: 3,
      prevNids: [9],
    }
    const later = next(room)
    later.revised.push(placed)
    await owner.commit(later)
    const [row] = await sql`
      select e.*, r.reason from events e left join rejections r using (shard, event_nid)
      where event_nid = ${outlier.eventNid}`
    expect(row).toMatchObject({ chain: 5000, flags: 0, prev_nids: [9], reason: null })

    const again = next(room)
    again.revised.push({ ...placed, chainIndex: 2 })
    expect(await failure(commit(sql, owner.batch(again)))).toMatchObject({ code: 'LW003' })
  })
})

describe('an event ID that a peer chose', () => {
  test('is claimed once, and filled by the commit of the claiming room', async () => {
    const eventId = packEventId(`$${randomUUID()}:evil.example`)
    const other = packEventId(`$${randomUUID()}:evil.example`)
    const claim = { eventId, shard: 1, roomId: '!one:a' }
    expect(await intern.claimEventIds(sql, [claim, { ...claim, eventId: other }])).toEqual(
      new Set(),
    )
    // The same room may ask again (after a crash); another one is refused, of whichever shard.
    const asked = [
      claim,
      { ...claim, roomId: '!two:a' },
      { ...claim, shard: 2, roomId: '!three:a' },
    ]
    expect(await intern.claimEventIds(sql, asked)).toEqual(new Set([1, 2]))

    const room = owner.room(1)
    const event = owner.event(room, { eventId, claimed: true })
    await owner.commit(room)
    const [row] = await sql`select * from event_ids where event_id = ${Buffer.from(eventId)}`
    expect(row).toMatchObject({ event_nid: event.eventNid, shard: 1 })
    expect(await intern.claimEventIds(sql, [claim])).toEqual(new Set([0]))

    const twice = next(room)
    owner.event(twice, { eventId, claimed: true })
    expect(await failure(commit(sql, owner.batch(twice)))).toMatchObject({ code: 'LW003' })
  })
})

import { afterEach, beforeEach, describe, expect, test } from 'bun:test'
import type { JsonObject } from '#core/json.ts'
import * as backfill from '#api/server-server/backfill.ts'
import * as eventAuth from '#api/server-server/event-auth.ts'
import * as events from '#api/server-server/events.ts'
import { packEventId } from '#store/room/event-id.ts'
import { type Made, MadeUpRoom, MadeUpServer } from '#test/builders.ts'
import { testDatabase } from '#test/database.ts'
import { plant, uproot } from './plant.ts'
import { here, Stage } from './stage.ts'

const db = await testDatabase()
const peer = new MadeUpServer('peer.test')
const other = new MadeUpServer('other.test')
const outside = new MadeUpServer('outside.test')
const alice = peer.user('alice')
const bob = other.user('bob')
const ops = [backfill, eventAuth, events].flatMap((file) => Object.values(file))
let stage: Stage
let room: MadeUpRoom
const v1 = '/_matrix/federation/v1'
const enc = encodeURIComponent

beforeEach(async () => {
  await uproot(db.pool, 'redactions', 'spans')
  stage = await Stage.open(db.pool, ops, [peer, other, outside])
  room = MadeUpRoom.create('11', alice, peer, other, outside)
})
afterEach(() => stage.close())

const ask = (from: MadeUpServer, uri: string) => stage.ask(from, 'GET', v1 + uri)
const idsIn = (list: unknown) =>
  (list as JsonObject[]).map((pdu) => {
    const found = [...room.events.values()].find(
      ({ event }) => event.depth === pdu['depth'] && event.type === pdu['type'],
    )
    return found!.event.eventId
  })
const idOf = ({ event }: Made) => event.eventId

/** alice's room, bob joined, three messages. */
async function chat(flags?: Map<string, number>) {
  const joined = room.member(bob, bob, 'join')
  const one = room.say(alice, 'one')
  const two = room.say(bob, 'two')
  const three = room.say(alice, 'three')
  await plant(db.pool, stage.snapshots, room, flags ? { flags } : {})
  return { joined, one, two, three }
}

describe('an event', () => {
  test('that was redacted is served without what was taken back', async () => {
    const { one, two } = await chat()
    await db.pool`
      insert into redactions (shard, room_nid, target_id, redaction_nid, applied)
      select shard, room_nid, event_id, 1, event_id = ${Buffer.from(packEventId(idOf(one)))}
      from events`
    const { status, text } = await ask(peer, `/event/${enc(idOf(one))}`)
    expect([status, text.includes('"one"')]).toEqual([200, false])
    const page = await ask(peer, `/backfill/${enc(room.roomId)}?v=${enc(idOf(two))}&limit=10`)
    expect(idsIn(page.body['pdus'])).toContain(idOf(one))
    expect(page.text).not.toContain('"one"')
    // A redaction that does not count, or not yet, takes nothing back.
    expect(page.text).toContain(two.text)
  })

  test('that was redacted keeps what the rules read of it', async () => {
    const content = { users: { [alice]: 100 }, notifications: { room: 100 }, said: 'bad' }
    const levels = room.add(alice, 'm.room.power_levels', content, { stateKey: '' })
    room.add(alice, 'm.room.topic', { topic: 'worse' }, { stateKey: '' })
    const { one } = await chat()
    await db.pool`
      insert into redactions (shard, room_nid, target_id, redaction_nid, applied)
      select shard, room_nid, event_id, 1, true from events`
    const before = `${enc(room.roomId)}?event_id=${enc(idOf(one))}`
    const page = `${enc(room.roomId)}?v=${enc(idOf(one))}&limit=10`
    for (const uri of [`/state/${before}`, `/backfill/${page}`]) {
      const { text } = await ask(peer, uri)
      expect(text).toContain(levels.text)
      expect(text).toContain('"m.room.topic"')
      expect(text).not.toContain('worse')
    }
    expect((await ask(peer, `/event/${enc(idOf(levels))}`)).text).toContain(levels.text)
  })

  test('is served as it was signed, to servers in the room', async () => {
    const { two } = await chat()
    const { status, text, body } = await ask(peer, `/event/${enc(idOf(two))}`)
    expect(status).toBe(200)
    expect(text).toContain(two.text)
    expect(body['origin']).toBe(here)
  })

  test('is not served to others, nor is one that is unknown or rejected', async () => {
    const rejected = room.say(alice, 'rejected')
    const { two } = await chat(new Map([[idOf(rejected), 1]]))
    expect((await ask(outside, `/event/${enc(idOf(two))}`)).status).toBe(403)
    expect((await ask(peer, `/event/${enc(idOf(rejected))}`)).status).toBe(404)
    expect((await ask(peer, `/event/${enc('$unknown')}`)).status).toBe(404)
    // The same hash in another spelling is another ID.
    const respelled = idOf(two).replaceAll('-', '+').replaceAll('_', '/')
    if (respelled !== idOf(two))
      expect((await ask(peer, `/event/${enc(respelled)}`)).status).toBe(404)
  })

  test('that was soft-failed is served like others: it may be good elsewhere', async () => {
    const evasion = room.say(alice, 'evasion')
    const { one } = await chat(new Map([[idOf(evasion), 2]]))
    const { status, text } = await ask(other, `/event/${enc(idOf(evasion))}`)
    expect(status).toBe(200)
    expect(text).toContain(evasion.text)
    // And so is what leads to it.
    const page = await ask(other, `/backfill/${enc(room.roomId)}?v=${enc(idOf(one))}&limit=10`)
    expect(idsIn(page.body['pdus'])).toContain(idOf(evasion))
  })

  test('from before any of a server’s users was there is withheld if the room says so', async () => {
    room.add(alice, 'm.room.history_visibility', { history_visibility: 'joined' }, { stateKey: '' })
    const before = room.say(alice, 'before')
    const { one } = await chat()
    expect((await ask(other, `/event/${enc(idOf(before))}`)).status).toBe(403)
    expect((await ask(other, `/event/${enc(idOf(one))}`)).status).toBe(200)
    expect((await ask(peer, `/event/${enc(idOf(before))}`)).status).toBe(200)
  })
})

describe('the state', () => {
  test('is that before the event, with its auth chain', async () => {
    const { joined, two } = await chat()
    const before = await ask(peer, `/state_ids/${enc(room.roomId)}?event_id=${enc(idOf(joined))}`)
    const after = await ask(peer, `/state_ids/${enc(room.roomId)}?event_id=${enc(idOf(two))}`)
    expect(before.body['pdu_ids']).not.toContain(idOf(joined))
    expect(after.body['pdu_ids']).toContain(idOf(joined))
    const create = room.state.get('m.room.create ')!.eventId
    expect(after.body['auth_chain_ids']).toContain(create)
    expect(before.status).toBe(200)

    const full = await ask(peer, `/state/${enc(room.roomId)}?event_id=${enc(idOf(two))}`)
    expect(new Set(idsIn(full.body['pdus']))).toEqual(new Set(after.body['pdu_ids'] as string[]))
    expect((full.body['auth_chain'] as object[]).length).toBe(
      (after.body['auth_chain_ids'] as string[]).length,
    )
  })

  test('of an event of another room is not told', async () => {
    const { two } = await chat()
    const third = MadeUpRoom.create('11', outside.user('x'), outside, peer)
    third.member(alice, alice, 'join')
    await plant(db.pool, stage.snapshots, third)
    const uri = `/state_ids/${enc(third.roomId)}?event_id=${enc(idOf(two))}`
    expect((await ask(peer, uri)).status).toBe(404)
  })

  test('is asked for with an event', async () => {
    await chat()
    const { status, body } = await ask(peer, `/state_ids/${enc(room.roomId)}`)
    expect([status, body['errcode']]).toEqual([400, 'M_MISSING_PARAM'])
  })
})

describe('the event at a time', () => {
  const at = (from: MadeUpServer, ts: number | string, dir: string) =>
    ask(from, `/timestamp_to_event/${enc(room.roomId)}?ts=${ts}&dir=${dir}`)

  /** Puts the planted events into one chain, in their order. */
  async function chain() {
    await db.pool`update events set chain = 64 + shard, chain_index = position`
    await db.pool`
      insert into spans (shard, room_nid, order_key, chain)
      select distinct shard, room_nid, '\\x80'::bytea, 64 + shard from events`
  }

  test('is the nearest one here that a user of the asking server may see', async () => {
    room.add(alice, 'm.room.history_visibility', { history_visibility: 'joined' }, { stateKey: '' })
    const ts = 2_000_000_000_000
    const before = room.say(alice, 'before', { ts })
    room.member(bob, bob, 'join', { ts: ts + 1 })
    const after = room.say(alice, 'after', { ts: ts + 2 })
    const rejected = room.say(alice, 'rejected', { ts: ts + 3 })
    await plant(db.pool, stage.snapshots, room, { flags: new Map([[idOf(rejected), 1]]) })
    await chain()
    const found = (made: Made, time: number) => ({ event_id: idOf(made), origin_server_ts: time })
    expect((await at(peer, ts, 'f')).body).toEqual(found(before, ts))
    expect((await at(other, ts, 'f')).body).toMatchObject({ origin_server_ts: ts + 1 })
    expect((await at(other, ts + 9, 'b')).body).toEqual(found(after, ts + 2))
    expect((await at(other, ts + 3, 'f')).status).toBe(404)
    expect(stage.federation.requests).toEqual([])
  })

  test('is told to servers in the room alone, if they ask for one (Synapse 1.157.2)', async () => {
    await chat()
    await chain()
    expect((await at(outside, 1, 'f')).status).toBe(403)
    for (const [ts, dir] of [
      ['-1', 'f'],
      ['x', 'f'],
      ['1', 'up'],
    ] as const)
      expect((await at(peer, ts, dir)).status).toBe(400)
    const unknown = await ask(peer, `/timestamp_to_event/${enc('!no:here.test')}?ts=1&dir=f`)
    expect(unknown.status).toBe(404)
  })
})

test('an auth chain is that of the event alone', async () => {
  const { two } = await chat()
  const { body } = await ask(peer, `/event_auth/${enc(room.roomId)}/${enc(idOf(two))}`)
  const chain = idsIn(body['auth_chain'])
  expect(new Set(chain).size).toBe(chain.length)
  expect(chain).toContain(room.state.get('m.room.create ')!.eventId)
  expect(chain).not.toContain(idOf(two))
})

describe('backfill', () => {
  test('answers the events asked for and what came before, newest first, up to the limit', async () => {
    const { joined, one, two } = await chat()
    const { body } = await ask(peer, `/backfill/${enc(room.roomId)}?v=${enc(idOf(two))}&limit=3`)
    expect(idsIn(body['pdus'])).toEqual([two, one, joined].map(idOf))
  })

  test('ends at the beginning of the room', async () => {
    const { three } = await chat()
    const { body } = await ask(peer, `/backfill/${enc(room.roomId)}?v=${enc(idOf(three))}&limit=99`)
    expect(body['pdus']).toHaveLength(8)
  })

  test('hides the content of what the server’s users may not see, and keeps the graph', async () => {
    room.add(alice, 'm.room.history_visibility', { history_visibility: 'joined' }, { stateKey: '' })
    const secret = room.say(alice, 'secret')
    const { one } = await chat()
    const uri = `/backfill/${enc(room.roomId)}?v=${enc(idOf(one))}&limit=3`
    const { body } = await ask(other, uri)
    const [shown, join, hidden] = body['pdus'] as JsonObject[]
    expect((shown!['content'] as JsonObject)['body']).toBe('one')
    expect((join!['content'] as JsonObject)['membership']).toBe('join')
    expect(hidden!['content']).toEqual({})
    expect(hidden!['hashes']).toEqual(secret.event.pdu.hashes)
    expect(idsIn([hidden!])).toEqual([idOf(secret)])
    expect((await ask(peer, uri)).text).toContain('secret')
  })

  test('is for servers in the room that its access list lets in', async () => {
    room.add(alice, 'm.room.server_acl', { allow: ['*'], deny: ['other.*'] }, { stateKey: '' })
    const { one } = await chat()
    const uri = `/backfill/${enc(room.roomId)}?v=${enc(idOf(one))}&limit=3`
    expect((await ask(peer, uri)).status).toBe(200)
    expect((await ask(other, uri)).body['errcode']).toBe('M_FORBIDDEN')
    expect((await ask(outside, uri)).body['errcode']).toBe('M_FORBIDDEN')
    const unknown = `/backfill/${enc('!unknown:x.test')}?v=${enc(idOf(one))}&limit=3`
    expect((await ask(peer, unknown)).status).toBe(404)
  })

  test.each(['', '?v=%24a', '?limit=3', '?v=%24a&limit=0', '?v=noid&limit=3'])(
    'without sound parameters is refused: %s',
    async (query) => {
      await chat()
      expect((await ask(peer, `/backfill/${enc(room.roomId)}${query}`)).status).toBe(400)
    },
  )
})

describe('missing events', () => {
  const missing = (body: JsonObject, from = peer) =>
    stage.ask(from, 'POST', `${v1}/get_missing_events/${enc(room.roomId)}`, body)

  test('are those between what is known and what is new, oldest first', async () => {
    const { joined, one, two, three } = await chat()
    const { body } = await missing({
      earliest_events: [idOf(joined)],
      latest_events: [idOf(three)],
    })
    expect(idsIn(body['events'])).toEqual([one, two].map(idOf))
  })

  test('are found on all branches, the nearest first when there are too many', async () => {
    const { three } = await chat()
    const left = room.say(alice, 'left')
    const right = room.say(bob, 'right', { prev: [idOf(three)] })
    const top = room.say(alice, 'top', { prev: [idOf(left), idOf(right)] })
    await uproot(db.pool)
    await plant(db.pool, stage.snapshots, room)
    const { body } = await missing({ earliest_events: [], latest_events: [idOf(top)], limit: 2 })
    expect(body['events']).toHaveLength(2)
    const bodies = (body['events'] as JsonObject[]).map(
      ({ content }) => (content as JsonObject)['body'],
    )
    expect(new Set(bodies)).toEqual(new Set(['left', 'right']))
  })

  test('end at a depth, and at events that are unknown', async () => {
    const { two, three } = await chat()
    const { body } = await missing({
      earliest_events: ['$9Wn0Yk8aAyNF9WWjjGh9RUFfw7Mm2ZNnAvMHVN8uvQA'],
      latest_events: [idOf(three)],
      min_depth: two.event.depth,
      limit: 50,
    })
    expect(idsIn(body['events'])).toEqual([idOf(two)])
  })

  test('are not told to servers outside of the room', async () => {
    const { three } = await chat()
    const { status } = await missing({ earliest_events: [], latest_events: [idOf(three)] }, outside)
    expect(status).toBe(403)
  })
})

describe('what an erased user said', () => {
  const erase = () => {
    const erased = { size: 1, has: (userId: string) => userId === alice }
    Object.assign(stage.ctx, { erased })
  }

  test('comes redacted to a server that was not there, and whole to one that was', async () => {
    const early = room.say(alice, 'early')
    const { one } = await chat()
    erase()
    const bodyOf = async (from: MadeUpServer, made: Made) => {
      const { body } = await ask(from, `/event/${enc(idOf(made))}`)
      const [pdu] = body['pdus'] as JsonObject[]
      return (pdu!['content'] as JsonObject)['body']
    }
    expect(await bodyOf(other, early)).toBeUndefined()
    expect(await bodyOf(other, one)).toBe('one')
    expect(await bodyOf(peer, early)).toBe('early')
  })

  test('stays as it is where it is state', async () => {
    const { joined } = await chat()
    const topic = [...room.events.values()].find(({ event }) => event.type === 'm.room.member')!
    erase()
    const { body } = await ask(other, `/event/${enc(idOf(topic))}`)
    const [pdu] = body['pdus'] as JsonObject[]
    expect((pdu!['content'] as JsonObject)['membership']).toBe('join')
    expect(idOf(joined)).toBeString()
  })
})

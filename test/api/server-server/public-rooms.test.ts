import { afterAll, beforeAll, describe, expect, test } from 'bun:test'
import type { Json, JsonObject } from '#core/json.ts'
import * as publicRooms from '#api/server-server/public-rooms.ts'
import { Positions } from '#engine/read/positions.ts'
import { silentLog } from '#src/log.ts'
import * as publishedRooms from '#store/user/published-rooms.ts'
import { MadeUpRoom, MadeUpServer } from '#test/builders.ts'
import { testDatabase } from '#test/database.ts'
import { plant } from './plant.ts'
import { here, Stage } from './stage.ts'

const db = await testDatabase()
const peer = new MadeUpServer('peer.test')
const path = '/_matrix/federation/v1/publicRooms'
let stage: Stage
let positions: Positions
let lounge: MadeUpRoom
let attic: MadeUpRoom

beforeAll(async () => {
  stage = await Stage.open(db.pool, Object.values(publicRooms), [peer])
  positions = new Positions(db.pool, { serverName: here, log: silentLog })
  Object.assign(stage.ctx, { positions })
  const make = async (name: string, isPublished = true): Promise<MadeUpRoom> => {
    const owner = new MadeUpServer(`${name.toLowerCase()}.test`)
    const [alice, bob] = [owner.user('alice'), owner.user('bob')]
    const room = MadeUpRoom.create('11', alice, owner)
    room.add(alice, 'm.room.name', { name }, { stateKey: '' })
    // The largest come first.
    if (name === 'Lounge') room.member(bob, bob, 'join')
    await plant(db.pool, stage.snapshots, room)
    if (isPublished) await publishedRooms.add(db.pool, room.roomId, stage.now)
    return room
  }
  lounge = await make('Lounge')
  attic = await make('Attic')
  await make('Cellar', false)
})
afterAll(() => stage.close())

const idsOf = (body: JsonObject) =>
  (body['chunk'] as JsonObject[]).map(({ room_id: roomId }) => roomId as string)
const get = (query = '') => stage.ask(peer, 'GET', path + query)
const post = (body: Json) => stage.ask(peer, 'POST', path, body)

describe('another server', () => {
  test('reads the directory page by page', async () => {
    const { status, body } = await get('?limit=1')
    expect([status, idsOf(body)]).toEqual([200, [lounge.roomId]])
    expect(body['total_room_count_estimate']).toBe(2)
    const next = await get(`?limit=1&since=${encodeURIComponent(body['next_batch'] as string)}`)
    expect(idsOf(next.body)).toEqual([attic.roomId])
    expect(next.body['next_batch']).toBeUndefined()
  })

  test('searches the directory, page by page too', async () => {
    const all = await post({})
    expect(idsOf(all.body)).toEqual([lounge.roomId, attic.roomId])
    const found = await post({ filter: { generic_search_term: 'ATTIC' } })
    expect(idsOf(found.body)).toEqual([attic.roomId])
    const first = await post({ limit: 1, filter: { room_types: [null] } })
    expect(idsOf(first.body)).toEqual([lounge.roomId])
    const second = await post({ limit: 1, since: first.body['next_batch'] as string })
    expect(idsOf(second.body)).toEqual([attic.roomId])
    expect(idsOf((await post({ filter: { room_types: ['m.space'] } })).body)).toEqual([])
  })

  test('finds nothing of networks that there are not, and says who it is', async () => {
    expect(idsOf((await post({ third_party_instance_id: 'irc' })).body)).toEqual([])
    expect(idsOf((await post({ include_all_networks: true })).body)).toHaveLength(2)
    const unsigned = new Request(`https://here.test${path}`, { method: 'POST', body: '{}' })
    expect((await stage.fetch(unsigned)).status).toBe(401)
    expect((await post({ limit: -1 })).status).toBe(400)
  })
})

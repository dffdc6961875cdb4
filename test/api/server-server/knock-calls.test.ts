import { afterAll, beforeAll, expect, test } from 'bun:test'
import type { Json } from '#core/json.ts'
import * as knocks from '#api/server-server/knocks.ts'
import { MadeUpRoom, MadeUpServer } from '#test/builders.ts'
import { testDatabase } from '#test/database.ts'
import { plant } from './plant.ts'
import { Stage } from './stage.ts'

const db = await testDatabase()
const peer = new MadeUpServer('peer.test')
const [alice, bob] = [peer.user('alice'), peer.user('bob')]
const v1 = '/_matrix/federation/v1'
const enc = encodeURIComponent
let stage: Stage
let room: MadeUpRoom

beforeAll(async () => {
  stage = await Stage.open(db.pool, Object.values(knocks), [peer])
  room = MadeUpRoom.create('11', alice, peer)
  await plant(db.pool, stage.snapshots, room)
})
afterAll(() => stage.close())

test('make_knock is told which versions the other server knows, and answers what it does not', async () => {
  const template = room.member(bob, bob, 'knock', { aside: true }).event.pdu
  stage.rooms.answers.makeKnock = () => ({ version: '11', event: JSON.stringify(template) })
  const ask = (query: string) =>
    stage.ask(peer, 'GET', `${v1}/make_knock/${enc(room.roomId)}/${enc(bob)}${query}`)
  expect((await ask('?ver=10&ver=11')).body).toEqual({
    room_version: '11',
    event: template,
  })
  const unsaid = await ask('')
  expect([unsaid.status, unsaid.body['errcode']]).toEqual([400, 'M_MISSING_PARAM'])
  const other = await ask('?ver=10')
  expect([other.status, other.body]).toEqual([
    400,
    expect.objectContaining({ errcode: 'M_INCOMPATIBLE_ROOM_VERSION', room_version: '11' }),
  ])
})

test('send_knock answers what its user may see of the room, though that is nothing', async () => {
  const { event, text } = room.member(bob, bob, 'knock', { aside: true })
  const hand = (state: string[]) => {
    stage.rooms.answers.sendKnock = () => ({ state }) as never
    const uri = `${v1}/send_knock/${enc(room.roomId)}/${enc(event.eventId)}`
    return stage.ask(peer, 'PUT', uri, JSON.parse(text) as Json)
  }
  expect((await hand([])).body).toEqual({ knock_room_state: [] })
  const name = { type: 'm.room.name', state_key: '', sender: alice, content: { name: 'Den' } }
  expect((await hand([JSON.stringify(name)])).body).toEqual({ knock_room_state: [name] })
})

import { afterEach, beforeEach, expect, test } from 'bun:test'
import * as backfill from '#api/server-server/backfill.ts'
import * as eventAuth from '#api/server-server/event-auth.ts'
import * as events from '#api/server-server/events.ts'
import * as transactions from '#api/server-server/transactions.ts'
import * as userDevices from '#api/server-server/user-devices.ts'
import * as userKeys from '#api/server-server/user-keys.ts'
import { here, Stage } from '#test/api/server-server/stage.ts'
import { plant, uproot } from '#test/api/server-server/plant.ts'
import { MadeUpRoom, MadeUpServer } from '#test/builders.ts'
import { testDatabase } from '#test/database.ts'
import { Device } from '#test/device.ts'

/** What other servers are told, and by whom they are told apart. */

const db = await testDatabase()
const evil = new MadeUpServer('evil.test')
const good = new MadeUpServer('good.test')
const alice = good.user('alice')
const enc = encodeURIComponent
const v1 = '/_matrix/federation/v1'
let stage: Stage
let room: MadeUpRoom
/** A room in which evil.test is, too. */
let own: MadeUpRoom

beforeEach(async () => {
  const devices = ['users', 'devices', 'to_device', 'remote_devices', 'remote_device_lists']
  await uproot(db.pool, 'redactions', 'spans', ...devices)
  const ops = [backfill, eventAuth, events, transactions, userDevices, userKeys]
  stage = await Stage.open(
    db.pool,
    ops.flatMap((file) => Object.values(file)),
    [evil, good],
  )
  room = MadeUpRoom.create('11', alice, good)
  room.say(alice, 'secret')
  own = MadeUpRoom.create('12', evil.user('mallory'), evil)
  await plant(db.pool, stage.snapshots, room)
  await plant(db.pool, stage.snapshots, own)
})
afterEach(() => stage.close())

const asked = (of: MadeUpRoom, eventId: string): [string, string, object?][] => [
  ['GET', `/event_auth/${enc(of.roomId)}/${enc(eventId)}`],
  ['GET', `/state/${enc(of.roomId)}?event_id=${enc(eventId)}`],
  ['GET', `/state_ids/${enc(of.roomId)}?event_id=${enc(eventId)}`],
  ['GET', `/backfill/${enc(of.roomId)}?v=${enc(eventId)}&limit=10`],
  [
    'POST',
    `/get_missing_events/${enc(of.roomId)}`,
    { earliest_events: [], latest_events: [eventId], limit: 10, min_depth: 0 },
  ],
]

const answers = (from: MadeUpServer, questions: [string, string, object?][]) =>
  Promise.all(
    questions.map(([method, uri, body]) => stage.ask(from, method, v1 + uri, body as never)),
  )

test('CVE-2022-39335, CVE-2018-12291: whoever is not in a room is told nothing of it', async () => {
  const [last] = room.heads
  const refused = await answers(evil, asked(room, last!))
  for (const { status, text } of refused) {
    expect([403, 404]).toContain(status)
    expect(text).not.toContain('secret')
  }
  expect((await stage.ask(evil, 'GET', `${v1}/event/${enc(last!)}`)).status).toBe(403)
  for (const { status } of await answers(good, asked(room, last!))) expect(status).toBe(200)
})

test('continuwuity SEC26, Synapse 1.157.2: an event is not had by the name of another room', async () => {
  const [last] = room.heads
  for (const { status, text } of await answers(evil, asked(own, last!))) {
    // Of a list of what came before, nothing is left.
    if (status === 200)
      expect(JSON.parse(text)).toMatchObject(text.includes('pdus') ? { pdus: [] } : { events: [] })
    else expect([403, 404]).toContain(status)
    expect(text).not.toContain('secret')
    expect(text).not.toContain(alice)
  }
})

test('CVE-2023-43796: keys that are kept of other servers’ users are told to no server', async () => {
  const { ctx } = stage
  const { keys } = new Device({ userId: alice, deviceId: 'D' })
  await ctx.users.call('updateRemoteDevice', alice, {
    deviceId: 'D',
    streamId: 1,
    prevIds: [],
    deleted: false,
    keyed: true,
    content: JSON.stringify({ keys }),
  })
  const body = { device_keys: { [alice]: [] } }
  const { body: told } = await stage.ask(evil, 'POST', `${v1}/user/keys/query`, body)
  expect(told['device_keys']).toEqual({})
  const claim = { one_time_keys: { [alice]: { D: 'signed_curve25519' } } }
  const { body: claimed } = await stage.ask(evil, 'POST', `${v1}/user/keys/claim`, claim)
  expect(claimed['one_time_keys']).toEqual({})
  expect((await stage.ask(evil, 'GET', `${v1}/user/devices/${enc(alice)}`)).status).toBe(404)
})

test('continuwuity SEC12: messages to devices of users who are not here are not kept', async () => {
  const users = [alice, `@nobody:${here}`, '@other:third.test']
  const edu = {
    edu_type: 'm.direct_to_device',
    content: {
      sender: evil.user('mallory'),
      type: 'm.x',
      message_id: 'm',
      messages: Object.fromEntries(users.map((user) => [user, { '*': { a: 1 } }])),
    },
  }
  const { status } = await stage.ask(evil, 'PUT', `${v1}/send/1`, { pdus: [], edus: [edu] })
  expect(status).toBe(200)
  expect(await db.pool`select 1 from to_device`).toHaveLength(0)
})

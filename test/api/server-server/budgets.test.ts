import { expect, test } from 'bun:test'
import { files } from '#api/index.ts'
import * as events from '#api/server-server/events.ts'
import { defaultBudgets, maxAtOnce, RateLimits } from '#api/http/rate-limit.ts'
import { MadeUpRoom, MadeUpServer } from '#test/builders.ts'
import { testDatabase } from '#test/database.ts'
import { plant, uproot } from './plant.ts'
import { Stage } from './stage.ts'

const db = await testDatabase()
const peer = new MadeUpServer('peer.test')
const other = new MadeUpServer('other.test')

/** Bounded in another way, or as cheap as the answer that would refuse them. */
const free = new Set([
  'sendTransaction',
  'sendInviteV1',
  'sendInviteV2',
  'exchangeThirdPartyInvite',
  'getServerKey',
  'getVersion',
  'getWellKnown',
])

test('whatever another server asks for is taken from a budget', () => {
  const unbounded = Object.entries(files)
    .filter(([file]) => file.startsWith('server-server/'))
    .flatMap(([, exports]) => Object.values(exports))
    .filter(({ id, limit }) => limit === undefined && !free.has(id))
  expect(unbounded.map(({ id }) => id)).toEqual([])
})

async function openRoom(now: () => number) {
  const stage = await Stage.open(db.pool, Object.values(events), [peer, other])
  Object.assign(stage.ctx, { limits: new RateLimits(defaultBudgets, now) })
  await uproot(db.pool)
  const room = MadeUpRoom.create('11', peer.user('alice'), peer, other)
  room.member(other.user('bob'), other.user('bob'), 'join')
  const { event } = room.say(peer.user('alice'), 'hello')
  await plant(db.pool, stage.snapshots, room)
  const query = `?event_id=${encodeURIComponent(event.eventId)}`
  const uri = `/_matrix/federation/v1/state_ids/${encodeURIComponent(room.roomId)}${query}`
  return { stage, ask: (server: MadeUpServer) => stage.ask(server, 'GET', uri) }
}

test('a server that asks for too much waits, and no other does', async () => {
  let now = 0
  const { stage, ask } = await openRoom(() => now)
  const { burst, perSecond } = defaultBudgets.peer_history
  for (let count = 0; count < burst; count++) stage.ctx.limits.take('peer_history', peer.name)
  const refused = await ask(peer)
  expect([refused.status, refused.body['errcode'], refused.body['retry_after_ms']]).toEqual([
    429,
    'M_LIMIT_EXCEEDED',
    1000 / perSecond,
  ])
  expect((await ask(other)).status).toBe(200)
  now += 1000 / perSecond
  expect((await ask(peer)).status).toBe(200)
  await stage.close()
})

test('only so many states of one server are read at once, and each makes room when it is done', async () => {
  const { stage, ask } = await openRoom(() => 0)
  const leaves = Array.from({ length: maxAtOnce }, () =>
    stage.ctx.limits.enter(peer.name, maxAtOnce),
  )
  expect((await ask(peer)).body['errcode']).toBe('M_LIMIT_EXCEEDED')
  expect((await ask(other)).status).toBe(200)
  leaves[0]!()
  // One after the other, also where one was refused.
  for (let count = 0; count < 3; count++) expect((await ask(peer)).status).toBe(200)
  await stage.close()
})

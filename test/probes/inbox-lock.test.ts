import { afterAll, expect, test } from 'bun:test'
import { openPool } from '#store/db.ts'
import { until } from '#test/room-engine.ts'
import { Home, isOpen } from './home.ts'

const home = await Home.open('peer.test')
afterAll(() => home.remove())

/** Another session of the database that holds a lock until it is let go, at the latest with its scope. */
async function lock(table: string) {
  const pool = openPool(home.database.url, { max: 1, name: 'another-session' })
  const held = Promise.withResolvers<void>()
  const letGo = Promise.withResolvers<void>()
  const holding = pool.begin(async (sql) => {
    await sql.unsafe(`lock table ${table} in access exclusive mode`)
    held.resolve()
    await letGo.promise
  })
  await held.promise
  const release = async () => {
    letGo.resolve()
    await holding
    await pool.end()
  }
  return { release, [Symbol.asyncDispose]: release }
}

test('a transaction is answered when it is durable in the inbox, and not before', async () => {
  const [peer] = home.peers
  const alice = await home.server.person('alice')
  const roomId = await home.room(alice)
  const room = await home.joined(peer!, roomId, 'bob')
  const said = room.say(peer!.user('bob'), 'while the inbox is locked')

  await using locked = await lock('inbox')
  const sending = home.send(peer!, [said])
  const waited = await isOpen(sending, 400)
  // Nobody else waits for the inbox: not a local send, not even in that room.
  const own = await alice.say(roomId, 'nothing here needs the inbox')
  const stillWaited = await isOpen(sending, 50)
  await locked.release()

  expect(waited).toBe(true)
  expect(own).toStartWith('$')
  expect(stillWaited).toBe(true)
  expect(await sending).toEqual({ status: 200, body: { pdus: { [said.eventId]: {} } } })
  await until(async () => (await alice.texts(roomId)).includes('while the inbox is locked'))
})

test('no work of a room stands between a transaction and its answer', async () => {
  const [peer] = home.peers
  const carol = await home.server.person('carol')
  const roomId = await home.room(carol)
  const room = await home.joined(peer!, roomId, 'bob')
  const said = room.say(peer!.user('bob'), 'while no event can be written')

  await using locked = await lock('extremities')
  const answered = await home.send(peer!, [said])
  const before = await home.stored(said)
  await locked.release()

  expect(answered).toEqual({ status: 200, body: { pdus: { [said.eventId]: {} } } })
  expect(before).toBeUndefined()
  await until(async () => (await home.stored(said)) !== undefined)
})

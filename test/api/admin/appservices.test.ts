import { expect, test } from 'bun:test'
import { testDatabase } from '#test/database.ts'
import { Bridging, openListener, registered } from '#test/engine/appservice/bridging.ts'
import { until } from '#test/until.ts'

const db = await testDatabase()
const listener = openListener()
const irc = registered('irc', listener.url)
const socket = registered('socket', 'websocket')
const quiet = registered('quiet', null)
const bridging = await Bridging.open(db, [irc, socket, quiet])
const { home } = bridging
const root = await home.person('root', { admin: true })
const alice = await home.person('alice')
const path = '/_laneway/admin/v1/appservices'

const list = async () => {
  const { status, body } = await root.client.get(path)
  expect(status).toBe(200)
  return body.appservices as Record<string, any>[]
}

test('an administrator sees what waits for each application service, and why', async () => {
  const ghost = await bridging.ghost(irc, 'ghost')
  const bot = await bridging.ghost(socket, 'bot')
  const room = await home.story.room(ghost)
  await room.member(bot, 'join')
  await bridging.followed()
  await until(async () => (await list())[0]!['waits_for'] === 'nothing')
  listener.take = () => new Response('too much', { status: 413 })
  const { eventId } = await room.send(ghost, 'one')
  await until(async () => {
    const [now] = await list()
    return now!['failures'] === 1 && now!['waits_for'] === 'retry'
  })
  home.now += 400
  const [first, second, third] = await list()
  expect(first).toMatchObject({
    id: 'irc',
    url: irc.url,
    follows: true,
    up: true,
    waits_for: 'retry',
    fault: { kind: 'refused', text: '413: too much' },
    in_flight: { event_ids: [eventId], for_ms: 400 },
    retry_in_ms: 600,
  })
  expect(second).toMatchObject({ id: 'socket', up: false, follows: true, waits_for: 'connection' })
  expect(second!['events']).toBeGreaterThan(0)
  expect(third).toMatchObject({ id: 'quiet', follows: false, waits_for: 'nothing', events: 0 })
  // Tokens are for nobody to see.
  const text = JSON.stringify(await list())
  for (const { asToken, hsToken } of bridging.appservices)
    expect([text.includes(asToken), text.includes(hsToken)]).toEqual([false, false])
})

test('skips what one does not take, and has one asked again at once', async () => {
  const [{ in_flight: inFlight }] = (await list()) as [Record<string, any>]
  const txn = { txn_id: inFlight!.txn_id as string }
  const fails = await root.client.post(`${path}/irc/skip`, { txn_id: 'another' })
  expect([fails.status, fails.body.errcode]).toEqual([404, 'M_NOT_FOUND'])
  expect((await root.client.post(`${path}/irc/skip`, { ...txn, event_ids: [] })).status).toBe(400)
  expect((await root.client.post(`${path}/nobody/retry`)).status).toBe(404)
  const sent = listener.transactions.length
  expect((await root.client.post(`${path}/irc/retry`)).status).toBe(200)
  // Its clock stands still: by itself nothing is sent.
  await until(() => listener.transactions.length > sent)
  expect((await root.client.post(`${path}/irc/skip`, txn)).body).toEqual({ skipped_events: 1 })
  const [first] = await list()
  expect(first).toMatchObject({ dropped: 1 })
  expect(first!['in_flight']).toBeUndefined()
})

test('is for administrators alone', async () => {
  for (const client of [alice.client, home.client.as(irc.asToken)]) {
    expect((await client.get(path)).status).toBe(403)
    expect((await client.post(`${path}/irc/skip`, { txn_id: 'x' })).status).toBe(403)
    expect((await client.post(`${path}/irc/retry`)).status).toBe(403)
  }
  expect((await home.client.get(path)).status).toBe(401)
})

import { afterAll, expect, test } from 'bun:test'
import { until } from '#test/room-engine.ts'
import { Home } from './home.ts'

const home = await Home.open('mallory.test', 'eve.test')
afterAll(() => home.remove())

test('a peer that cites an unknown event and never answers delays nobody, in its own room either', async () => {
  const [mallory, eve] = home.peers as [(typeof home.peers)[0], (typeof home.peers)[0]]
  const alice = await home.server.person('alice')
  const roomId = await home.room(alice)
  const evil = await home.joined(mallory, roomId, 'mallory')
  const good = await home.joined(eve, roomId, 'eve')

  // Whatever it is asked, no answer comes before the test ends.
  const asked: string[] = []
  const end = Promise.withResolvers<{ status: number; body: object }>()
  mallory.handler = (request, url) => {
    if (!/get_missing_events|state_ids|\/state\/|\/event\/|backfill/.test(url.pathname))
      return undefined
    asked.push(`${request.method} ${url.pathname}`)
    return end.promise as never
  }
  // Another server of the room does not know the event either, and does not answer.
  eve.handler = mallory.handler

  const unknown = evil.next(mallory.user('mallory'), 'm.room.message', { body: 'never sent' })
  const citing = evil.say(mallory.user('mallory'), 'cites what nobody knows')
  expect(unknown.eventId).toBe(citing.prevEvents[0]!)
  expect((await home.send(mallory, [citing])).status).toBe(200)
  await until(() => asked.length > 0)

  // A local send in the same room.
  const since = (await alice.do('GET', 'sync')).next_batch as string
  const own = await alice.say(roomId, 'we go on')
  // A valid event of another server, then one of the silent peer itself that cites what is known.
  const valid = good.say(eve.user('eve'), 'so do we')
  await home.send(eve, [valid])
  const known = evil.next(
    mallory.user('mallory'),
    'm.room.message',
    { msgtype: 'm.text', body: 'and I' },
    { prevEvents: [own] },
  )
  await home.send(mallory, [known])

  await until(async () => {
    const texts = await alice.texts(roomId)
    return ['we go on', 'so do we', 'and I'].every((text) => texts.includes(text))
  })
  const next = await alice.do('GET', `sync?since=${since}`)
  const seen = (next.rooms.join[roomId].timeline.events as { event_id: string }[]).map(
    (event) => event.event_id,
  )
  expect(seen).toContain(own)
  expect(await alice.texts(roomId)).not.toContain('cites what nobody knows')

  // All that time the peer had its deadline before it: nobody has given up on it.
  const [row] = await home.database.pool<{ rows: number; tries: number }[]>`
    select count(*)::integer as rows, max(attempts)::integer as tries from inbox`
  expect(row).toEqual({ rows: 1, tries: 0 })
  end.resolve({ status: 404, body: { errcode: 'M_NOT_FOUND', error: 'Not here' } })
})

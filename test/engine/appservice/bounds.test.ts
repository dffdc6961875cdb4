import { expect, test } from 'bun:test'
import { testDatabase } from '#test/database.ts'
import { until } from '#test/until.ts'
import { Bridging, openListener, registered } from './bridging.ts'

const db = await testDatabase()
const listener = openListener()
const irc = registered('irc', listener.url)
const bridging = await Bridging.open(db, [irc], { maxQueued: 20 })
const { home } = bridging
const ghost = await bridging.ghost(irc, 'ghost')
const counts = () => bridging.bridges.counts.find(({ id }) => id === 'irc')!

test('of too many events that wait the oldest are dropped, and counted', async () => {
  const room = await home.story.room(ghost)
  await room.send(ghost, 'first')
  await until(() => listener.texts.includes('first'))
  await until(() => counts().waiting === 0)
  const held = Promise.withResolvers<Response>()
  listener.take = () => held.promise
  await room.send(ghost, 'held')
  await until(() => listener.texts.includes('held'))
  for (let index = 0; index < 60; index++) await room.send(ghost, `${index}`)
  await bridging.followed()
  await until(() => counts().waiting <= 20 && counts().dropped + counts().waiting === 60)
  expect(counts().dropped).toBeGreaterThan(0)
  listener.take = () => Response.json({})
  held.resolve(Response.json({}))
  await until(() => listener.texts.includes('59'))
  // The newest, all of them, in order.
  const rest = listener.texts.slice(2)
  expect(rest).toEqual(
    Array.from({ length: rest.length }, (_, index) => `${60 - rest.length + index}`),
  )
  expect(rest.length).toBeGreaterThanOrEqual(15)
})

test('what has waited for too long is dropped; what is in flight is not', async () => {
  const room = await home.story.room(ghost)
  await room.send(ghost, 'before')
  await until(() => listener.texts.includes('before'))
  listener.take = () => new Response('', { status: 500 })
  await room.send(ghost, 'in flight')
  await until(() => listener.texts.includes('in flight'))
  await room.send(ghost, 'too old')
  await bridging.followed()
  home.now += 31 * 86_400_000
  await room.send(ghost, 'new')
  await bridging.followed()
  await bridging.bridges.sweep()
  listener.take = () => Response.json({})
  await bridging.later(() => listener.texts.includes('new'))
  expect(listener.texts.slice(-3)).toEqual(['before', 'in flight', 'new'])
})

test('who is registered later is sent what comes from then on', async () => {
  const late = openListener()
  const sms = registered('sms', late.url, {
    namespaces: { users: [{ regex: '@_irc_.*', exclusive: false }] },
  })
  const room = await home.story.room(ghost)
  await room.send(ghost, 'unheard')
  await bridging.followed()
  await bridging.restart([irc, sms])
  await room.send(ghost, 'heard')
  await until(() => late.texts.includes('heard'))
  expect(late.texts).toEqual(['heard'])
})

test('who is registered no more is sent nothing, and nothing is followed for nobody', async () => {
  const room = await home.story.room(ghost)
  await bridging.followed()
  await bridging.restart([])
  await room.send(ghost, 'to nobody')
  expect((await db.pool`select from appservice_cursors`).length).toBe(0)
  await bridging.restart()
  await room.send(ghost, 'to somebody')
  await until(() => listener.texts.includes('to somebody'))
  expect(listener.texts).not.toContain('to nobody')
})

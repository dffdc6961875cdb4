import { beforeEach, expect, test } from 'bun:test'
import { testDatabase } from '#test/database.ts'
import { until } from '#test/until.ts'
import { Bridging, openListener, registered } from './bridging.ts'

const db = await testDatabase()
const [one, other] = [openListener(), openListener()]
const irc = registered('irc', one.url)
const sms = registered('sms', other.url)
const bridging = await Bridging.open(db, [irc, sms])
const { home } = bridging
const ghost = await bridging.ghost(irc, 'ghost')
const room = await home.story.room(ghost)

const standing = async () => (await bridging.bridges.standings()).find(({ id }) => id === 'irc')!

/** Refuses what holds this text, as a service does that cannot digest it, until it is skipped. */
const refuse = (text: string) => {
  one.take = ({ text: body }) =>
    body.includes(text)
      ? Response.json({ errcode: 'M_BAD_JSON', error: 'I cannot read this' }, { status: 400 })
      : Response.json({})
}

/** Whether it has failed so often, and is left alone by now. */
const isRefused = async (failures = 1) => {
  const now = await standing()
  return now.failures === failures && now.waitsFor === 'retry'
}

const isQuiet = async () => {
  const { inFlight, events, failures, waitsFor } = await standing()
  return !inFlight && events + failures === 0 && waitsFor === 'nothing'
}

/** Says some things at once, of which the first is in flight before the others come. */
async function stuckAt(...texts: string[]): Promise<void> {
  const held = Promise.withResolvers<Response>()
  const { take } = one
  const before = one.transactions.length
  one.take = () => held.promise
  await room.send(ghost, 'hold')
  await until(() => one.transactions.length > before)
  for (const text of texts) await room.send(ghost, text)
  await bridging.followed()
  one.take = take
  held.resolve(Response.json({}))
  await until(isRefused)
}

beforeEach(async () => {
  one.take = other.take = () => Response.json({})
  await bridging.followed()
  await bridging.later(isQuiet)
})

test('one that refuses is asked again after growing pauses, up to a bound, and its queue waits in order', async () => {
  refuse('odd')
  await stuckAt('odd')
  const { inFlight } = await standing()
  for (let failures = 1; failures <= 9; failures++) {
    await until(() => isRefused(failures))
    const { retryInMs } = await standing()
    expect(retryInMs).toBe(Math.min(64_000, 1_000 * 2 ** (failures - 1)))
    if (failures === 9) break
    home.now += retryInMs!
    expect(bridging.bridges.retry('irc')).toBe(true)
  }
  await room.send(ghost, 'waits')
  await bridging.followed()
  await until(async () => (await standing()).events === 1)
  const now = await standing()
  // The same transaction, however long it takes.
  expect(now.inFlight?.txnId).toBe(inFlight!.txnId)
  expect(now.inFlight?.forMs).toBeGreaterThan(100_000)
  expect(now.oldestMs).toBe(now.inFlight!.forMs)
  expect(one.texts).not.toContain('waits')
  one.take = () => Response.json({})
  await bridging.later(() => one.texts.includes('waits'))
  expect(one.texts.slice(-2)).toEqual(['odd', 'waits'])
  expect((await standing()).dropped).toBe(0)
})

test('the operator is told what it says, by the log and by its standing', async () => {
  bridging.warnings.length = 0
  refuse('secret sauce')
  await stuckAt('secret sauce')
  const fault = {
    kind: 'refused',
    text: '400: {"errcode":"M_BAD_JSON","error":"I cannot read this"}',
  }
  expect(await standing()).toMatchObject({ fault, isUp: true, failures: 1, waitsFor: 'retry' })
  expect(bridging.warnings).toEqual([
    {
      appservice: 'irc',
      ...fault,
      failures: 1,
      why: 'an application service refuses what it is sent',
    },
  ])
  // What is said in rooms is not for the log.
  expect(JSON.stringify(bridging.warnings)).not.toContain('secret sauce')
  // Who refuses is there, and is asked of users that it may make.
  one.answer = () => Response.json({ errcode: 'M_NOT_FOUND' }, { status: 404 })
  expect(await bridging.bridges.questions.makesUser('@_irc_nobody:here.example')).toBe(false)
  expect(one.questions.at(-1)?.path).toBe('/_matrix/app/v1/users/%40_irc_nobody%3Ahere.example')
})

test('a transaction that it refuses is skipped, and what follows comes', async () => {
  refuse('poison')
  await stuckAt('poison', 'beside')
  await room.send(ghost, 'behind')
  await bridging.followed()
  const { inFlight, dropped } = await standing()
  expect(inFlight!.eventIds).toHaveLength(2)
  const { bridges } = bridging
  expect(await bridges.skip('irc', 'another')).toBeUndefined()
  expect(await bridges.skip('sms', inFlight!.txnId)).toBeUndefined()
  expect(await bridges.skip('nobody', inFlight!.txnId)).toBeUndefined()
  expect(await bridges.skip('irc', inFlight!.txnId)).toBe(2)
  await until(() => one.texts.at(-1) === 'behind')
  await until(async () => (await standing()).failures === 0)
  const after = await standing()
  expect(after).toMatchObject({ waitsFor: 'nothing', inFlight: undefined, dropped: dropped + 2 })
  expect(after.fault).toBeUndefined()
  expect(await bridges.skip('irc', inFlight!.txnId)).toBeUndefined()
})

test('single events are skipped, and the others come in order in another transaction', async () => {
  refuse('venom')
  await stuckAt('good', 'venom', 'better')
  const { inFlight } = await standing()
  const [, odd] = inFlight!.eventIds
  const { bridges } = bridging
  expect(await bridges.skip('irc', inFlight!.txnId, ['$unknown'])).toBeUndefined()
  expect((await standing()).inFlight?.txnId).toBe(inFlight!.txnId)
  expect(await bridges.skip('irc', inFlight!.txnId, [odd!, '$unknown'])).toBe(1)
  await until(
    () =>
      one.transactions.at(-1)!.text.includes('better') &&
      !one.transactions.at(-1)!.text.includes('venom'),
  )
  const last = one.transactions.at(-1)!
  expect(last.txnId).not.toBe(inFlight!.txnId)
  expect(last.body.events.map(({ event_id: id }) => id)).toEqual(
    inFlight!.eventIds.filter((id) => id !== odd),
  )
  await until(async () => (await standing()).inFlight === undefined)
})

test('what one refuses delays nobody else, and is where it was after a restart', async () => {
  const phone = await bridging.ghost(sms, 'phone')
  await room.member(phone, 'join')
  await bridging.followed()
  await until(isQuiet)
  refuse('stuck')
  await stuckAt('stuck')
  await room.send(ghost, 'for all')
  await until(() => other.texts.includes('for all'))
  const { inFlight } = await standing()
  await bridging.restart()
  const after = await standing()
  expect(after).toMatchObject({
    inFlight: { txnId: inFlight!.txnId },
    failures: 1,
    waitsFor: 'retry',
  })
  expect(await bridging.bridges.skip('irc', inFlight!.txnId)).toBe(1)
  await until(() => one.texts.includes('for all'))
})

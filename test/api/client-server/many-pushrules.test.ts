import { expect, test } from 'bun:test'
import type { PushRuleset } from '#core/push/default-rules.ts'
import { compileRules, evaluate } from '#core/push/evaluate.ts'
import { maxOwnRules } from '#core/push/ruleset.ts'
import { testDatabase } from '#test/database.ts'
import { Home, type Person } from './home.ts'

const db = await testDatabase()
const home = await Home.open(db)

/** Asks for rules, some at a time; what each was answered. */
async function put({ client }: Person, count: number, patternOf: (n: number) => string) {
  const answers: [number, number, string | undefined][] = []
  let next = 0
  const work = async () => {
    for (let n = next++; n < count; n = next++) {
      const rule = { pattern: patternOf(n), actions: ['notify'] }
      const { status, body } = await client.put(`/pushrules/global/content/r${n}`, rule)
      answers.push([n, status, body.errcode])
    }
  }
  await Promise.all(Array.from({ length: 50 }, work))
  return answers
}

const subjectOf = (body: string) => ({
  event: { type: 'm.room.message', sender: '@x:here.example', content: { body } },
  joinedMembers: 20,
  mayNotifyRoom: false,
  displayName: undefined,
})

test('of 10,000 rules the first thousand are kept, and nothing is lost over the others (Synapse 1.157.2)', async () => {
  const alice = await home.person('alice')
  const bob = await home.person('bob')
  const room = await home.story.room(alice.userId)
  await room.member(bob.userId, 'join')
  const before = await home.story.sync(alice.userId)
  const answers = await put(alice, 10_000, (n) => `keyword${n}`)
  const kept = answers.filter(([, status]) => status === 200).map(([n]) => `r${n}`)
  expect(kept).toHaveLength(maxOwnRules)
  const refused = answers.filter(([, status]) => status !== 200)
  expect(new Set(refused.map(([, ...said]) => said.join(' ')))).toEqual(
    new Set(['413 M_TOO_LARGE']),
  )

  const { status, body } = await alice.client.get('/pushrules/')
  expect(status).toBe(200)
  const ids = (body.global as PushRuleset).content.map((rule) => rule.rule_id)
  expect(ids.toSorted()).toEqual(kept.toSorted())
  const synced = await home.story.sync(alice.userId, { since: before.next_batch })
  expect(synced.account_data!.events).toMatchObject([{ content: { global: body.global } }])
  // What is there may be changed still, and makes room when it goes.
  const change = { pattern: 'other', actions: [] }
  const own = `/pushrules/global/content/${kept[0]}`
  expect((await alice.client.put(own, change)).status).toBe(200)
  const more = '/pushrules/global/content/more'
  expect((await alice.client.put(more, change)).status).toBe(413)
  expect((await alice.client.delete(own)).status).toBe(200)
  expect((await alice.client.put(more, change)).status).toBe(200)

  // All of them are asked about a long message, down to the last.
  const rules = compileRules(body.global as PushRuleset)
  const last = (body.global as PushRuleset).content.at(-1)!.pattern!
  const long = 'word '.repeat(1_000)
  expect(evaluate(rules, subjectOf(`${long}${last} end`))?.notify).toBe(true)
  const said = await room.send(bob.userId, `${long}${last} end`)
  const told = await home.story.sync(alice.userId, { since: synced.next_batch })
  const { timeline } = told.rooms!.join![room.roomId]!
  expect(timeline.events.map((event) => event.event_id)).toEqual([said.eventId])
})

test('a thousand patterns that are built to back-track take no more than their bound', async () => {
  const mallory = await home.person('mallory')
  await put(mallory, maxOwnRules, (n) => `${'a?*'.repeat(50)}b${n}`)
  const { body } = await mallory.client.get('/pushrules/')
  const rules = compileRules(body.global as PushRuleset)
  // Tried one by one to the end this would be about 10^10 comparisons.
  const verdict = evaluate(rules, subjectOf('a'.repeat(60_000)))
  // The rule for messages is left, as if those had not been there.
  const { actions } = (body.global as PushRuleset).underride.find(
    (rule) => rule.rule_id === '.m.rule.message',
  )!
  expect(verdict?.actions).toEqual(actions)
})

import { expect, test } from 'bun:test'
import { testDatabase } from '#test/database.ts'
import { Home } from './home.ts'

const db = await testDatabase()
const home = await Home.open(db)
const word = { pattern: 'cake*lie', actions: ['notify'] }

test('a rule is made, changed, turned off and deleted, and each device hears of it', async () => {
  const { client, userId } = await home.person('alice')
  const before = await home.story.sync(userId)
  expect(await client.put('/pushrules/global/content/nocake', word)).toMatchObject({
    status: 200,
    body: {},
  })
  const rule = { ...word, rule_id: 'nocake', default: false, enabled: true }
  expect((await client.get('/pushrules/global/content/nocake')).body).toEqual(rule)
  const after = await home.story.sync(userId, { since: before.next_batch })
  const [{ type, content }] = after.account_data!.events as [
    { type: string; content: { global: { content: unknown[] } } },
  ]
  expect([type, content.global.content]).toEqual(['m.push_rules', [rule]])

  await client.put('/pushrules/global/content/nocake/enabled', { enabled: false })
  await client.put('/pushrules/global/content/nocake/actions', { actions: [] })
  expect((await client.get('/pushrules/global/content/nocake')).body).toMatchObject({
    enabled: false,
    actions: [],
  })
  const kept = await client.get(`/user/${encodeURIComponent(userId)}/account_data/m.push_rules`)
  expect(kept.body.global.content).toHaveLength(1)
  expect((await client.delete('/pushrules/global/content/nocake')).status).toBe(200)
  expect((await client.delete('/pushrules/global/content/nocake')).body.errcode).toBe('M_NOT_FOUND')
  expect((await client.get('/pushrules/')).body.global.content).toEqual([])
})

test('the rules of who never changed one are the default ones, also as account data', async () => {
  const { client, userId } = await home.person('bob')
  const { body } = await client.get(`/user/${encodeURIComponent(userId)}/account_data/m.push_rules`)
  expect(body).toEqual((await client.get('/pushrules/')).body)
  const put = await client.put(`/user/${encodeURIComponent(userId)}/account_data/m.push_rules`, {})
  expect(put.status).toBe(405)
})

test('changes that come at once are all made', async () => {
  const { client } = await home.person('carol')
  const names = Array.from({ length: 20 }, (_, n) => `rule${n}`)
  await Promise.all(names.map((name) => client.put(`/pushrules/global/content/${name}`, word)))
  const { body } = await client.get('/pushrules/global/')
  expect(body.content.map((rule: { rule_id: string }) => rule.rule_id).sort()).toEqual(names.sort())
})

test('a rule is placed by its neighbours, and what does not fit is refused', async () => {
  const { client } = await home.person('dave')
  const put = async (path: string, body: unknown) => {
    const answer = await client.put(`/pushrules/global/${path}`, body)
    return [answer.status, answer.body.errcode]
  }
  await put('content/a', word)
  expect(await put('content/b?after=a', word)).toEqual([200, undefined])
  const { body } = await client.get('/pushrules/global/')
  expect(body.content.map((rule: { rule_id: string }) => rule.rule_id)).toEqual(['a', 'b'])
  expect(await put('content/c?before=nobody', word)).toEqual([400, 'M_UNKNOWN'])
  expect(await put('content/.c', word)).toEqual([400, 'M_INVALID_PARAM'])
  expect(await put('content/a%2Fb', word)).toEqual([400, 'M_INVALID_PARAM'])
  expect(await put('content/c', { actions: [] })).toEqual([400, 'M_MISSING_PARAM'])
  expect(await put('nothing/c', word)).toEqual([400, 'M_INVALID_PARAM'])
  expect(await put('content/a/enabled', { enabled: 'yes' })).toEqual([400, 'M_BAD_JSON'])
  expect(await put('content/nobody/enabled', { enabled: true })).toEqual([404, 'M_NOT_FOUND'])
  expect(await put('nothing/a/enabled', { enabled: true })).toEqual([404, 'M_NOT_FOUND'])
  const unknown = { conditions: [{ kind: 'org.example.odd', x: 1 }], actions: ['notify'] }
  expect(await put('override/odd', unknown)).toEqual([200, undefined])
  expect((await client.get('/pushrules/global/override/odd')).body.conditions).toEqual(
    unknown.conditions,
  )
})

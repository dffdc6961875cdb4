import { expect, test } from 'bun:test'
import { testDatabase } from '#test/database.ts'
import { Home } from './home.ts'

const db = await testDatabase()
const home = await Home.open(db)
const alice = await home.person('alice')
const get = (path: string) => alice.client.get(`/pushrules/${path}`)

test('a user has the default rules, made out to their name', async () => {
  const { body } = await get('')
  const { body: global } = await get('global/')
  expect(body).toEqual({ global })
  expect(Object.keys(global).sort()).toEqual(['content', 'override', 'room', 'sender', 'underride'])
  const mention = global.override.find(
    (rule: { rule_id: string }) => rule.rule_id === '.m.rule.is_user_mention',
  )
  expect(mention.conditions[0].value).toBe(alice.userId)
})

test('one rule can be read, and parts of it', async () => {
  const rule = 'global/override/.m.rule.master'
  expect((await get(rule)).body).toMatchObject({ rule_id: '.m.rule.master', enabled: false })
  expect((await get(`${rule}/enabled`)).body).toEqual({ enabled: false })
  expect((await get('global/underride/.m.rule.message/actions')).body).toEqual({
    actions: ['notify'],
  })
})

test('a rule that is not there is not found, and neither is one of another kind', async () => {
  for (const path of [
    'global/override/nothing',
    'global/underride/.m.rule.master/enabled',
    'global/nothing/.m.rule.master',
  ]) {
    const { status, body } = await get(path)
    expect([status, body.errcode]).toEqual([404, 'M_NOT_FOUND'])
  }
  expect((await home.client.get('/pushrules/')).status).toBe(401)
})

import { expect, test } from 'bun:test'
import { testDatabase } from '#test/database.ts'
import { Home } from './home.ts'

const db = await testDatabase()
const home = await Home.open(db)
const alice = await home.person('alice')
const bob = await home.person('bob')
const path = `/user/${alice.userId}/filter`

test('a filter is kept as it was defined, under one ID however often it is defined', async () => {
  const filter = {
    event_format: 'client',
    room: { timeline: { limit: 5, not_types: ['a.*'] }, include_leave: true },
    'org.example.unknown': { kept: [1] },
  }
  const { status, body } = await alice.client.post(path, filter)
  expect(status).toBe(200)
  // An ID that began like JSON would be taken for a filter.
  expect(body.filter_id).toMatch(/^[^{]/)
  expect((await alice.client.get(`${path}/${body.filter_id}`)).body).toEqual(filter)
  expect((await alice.client.post(path, filter)).body).toEqual(body)
  expect((await alice.client.post(path, {})).body).not.toEqual(body)
})

test("a filter is its user's alone", async () => {
  const { body } = await alice.client.post(path, {})
  for (const answer of [
    await bob.client.post(path, {}),
    await bob.client.get(`${path}/${body.filter_id}`),
  ])
    expect([answer.status, answer.body.errcode]).toEqual([403, 'M_FORBIDDEN'])
  expect((await bob.client.get(`/user/${bob.userId}/filter/nothing`)).status).toBe(404)
})

test('a filter that cannot be one is refused when it is defined', async () => {
  for (const filter of [{ room: 7 }, { room: { timeline: { limit: 'x' } } }, { event_fields: 'a' }])
    expect((await alice.client.post(path, filter)).body.errcode).toBe('M_BAD_JSON')
})

test('a sync takes a filter by its ID, and no ID that is none', async () => {
  const { body } = await alice.client.post(path, { account_data: { types: [] } })
  await alice.client.put(`/user/${alice.userId}/account_data/a.b`, { n: 1 })
  const all = await alice.client.get('/sync')
  expect(all.body.account_data.events).toContainEqual({ type: 'a.b', content: { n: 1 } })
  const some = await alice.client.get(`/sync?filter=${body.filter_id}`)
  expect(some.body.account_data?.events ?? []).toEqual([])
  const inline = encodeURIComponent('{"account_data":{"not_types":["a.b"]}}')
  const less = await alice.client.get(`/sync?filter=${inline}`)
  expect(less.body.account_data?.events ?? []).not.toContainEqual({
    type: 'a.b',
    content: { n: 1 },
  })
  expect((await alice.client.get('/sync?filter=nothing')).body.errcode).toBe('M_INVALID_PARAM')
})

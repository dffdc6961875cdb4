import { expect, test } from 'bun:test'
import { SyncFilters } from '#engine/user/sync-filters.ts'
import * as filters from '#store/user/filters.ts'
import { testDatabase } from '#test/database.ts'

const { pool } = await testDatabase()
const alice = '@alice:here.example'

test('who asks for the same gets the same filter, by its text or by an ID', async () => {
  const text = '{"room":{"timeline":{"limit":7}}}'
  await filters.add(pool, alice, 'seven', text)
  const known = new SyncFilters(pool)
  const byText = await known.of(alice, text)
  expect(byText.timeline.limit).toBe(7)
  expect(await known.of('@bob:here.example', text)).toBe(byText)
  expect(await known.of(alice, 'seven')).toBe(byText)
  expect(await known.of(alice)).toBe(await known.of(alice, ''))
  expect(await known.of(alice)).not.toBe(byText)
})

test('an ID is looked up once, and is that of its user alone', async () => {
  await filters.add(pool, alice, 'own', '{"room":{"timeline":{"limit":3}}}')
  const known = new SyncFilters(pool)
  const first = await known.of(alice, 'own')
  await pool`delete from filters where user_id = ${alice} and filter_id = 'own'`
  expect(await known.of(alice, 'own')).toBe(first)
  await expect(async () => known.of('@bob:here.example', 'own')).toThrow('no filter own')
})

test('what is no filter is refused each time', async () => {
  const known = new SyncFilters(pool)
  for (const text of ['{', '{"room":7}', 'nothing', 'a\0b', '{', '{"room":7}'])
    await expect(async () => known.of(alice, text)).toThrow(/filter/)
})

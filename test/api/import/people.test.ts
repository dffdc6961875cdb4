import { expect, test } from 'bun:test'
import { testDatabase } from '#test/database.ts'
import { message } from '#test/engine/room/import/importing.ts'
import { makeRoom, openImporting, path, told } from './importing.ts'

const db = await testDatabase()
const { home, root } = await openImporting(db)
const alice = await home.person('alice')
const roomId = await makeRoom(alice)
const { body: session } = await root.client.post(path, {
  room_id: roomId,
  source: 'people',
  mode: 'fresh',
})
const batch = (n: number) => `${path}/${session.session_id}/batches/${n}`
const ghost = (name: string) => `@_import_${name}:here.example`
const nameOf = async (userId: string) =>
  (await alice.client.get(`/profile/${encodeURIComponent(userId)}/displayname`)).body.displayname

/** How many users an import has made, and in how many transactions. */
const made = async () =>
  (
    await db.pool<{ users: number; commits: number }[]>`
      select count(*)::integer as users, count(distinct u.xmin::text)::integer as commits
      from users u where starts_with(u.user_id, '@_import_')`
  )[0]!

test('hundreds of people are made in a few transactions, with their names, and those who are there stay as they are', async () => {
  const one = { user_id: ghost('0'), displayname: 'First' }
  const records = [message('a', ghost('0'), 1_400_000_000_000)]
  expect((await root.client.put(batch(0), { people: [one], records })).status).toBe(200)
  const people = Array.from({ length: 300 }, (_, n) => ({
    user_id: ghost(String(n)),
    displayname: `Person ${n}`,
    avatar_url: 'mxc://here.example/face',
  }))
  const again = [...people, { user_id: ghost('299'), displayname: 'Second word' }]
  const answer = await root.client.put(batch(1), { people: again, records: [] })
  expect(answer.status).toBe(200)
  expect(await nameOf(ghost('0'))).toBe('First')
  expect(await nameOf(ghost('1'))).toBe('Person 1')
  expect(await nameOf(ghost('299'))).toBe('Person 299')
  // At most two are under way at once, and each takes all that waits.
  const { users, commits } = await made()
  expect(users).toBe(300)
  expect(commits).toBeLessThan(10)
})

test('a profile that is too large is refused, and nobody is made', async () => {
  const people = [
    { user_id: ghost('fine'), displayname: 'Fine' },
    { user_id: ghost('large'), displayname: 'x'.repeat(66_000) },
  ]
  expect(told(await root.client.put(batch(2), { people, records: [] }))).toEqual([
    400,
    'M_PROFILE_TOO_LARGE',
  ])
  expect((await alice.client.get(`/profile/${encodeURIComponent(ghost('fine'))}`)).status).toBe(404)
})

import { beforeEach, expect, test } from 'bun:test'
import * as files from '#store/media/files.ts'
import * as media from '#store/media/media.ts'
import * as moderation from '#store/media/moderation.ts'
import { testDatabase } from '#test/database.ts'

const { pool: sql } = await testDatabase()
const own = 'here.test'
const alice = '@alice:here.test'
let now = 1_000_000

beforeEach(async () => {
  await sql`truncate media, media_files, media_thumbnails`
})

const hash = (text: string) => new Bun.CryptoHasher('sha256').update(text).digest()

/** Media whose content is its text. */
async function add(mediaId: string, text = mediaId, userId: string | null = alice) {
  const sha256 = hash(text)
  const serverName = userId === null ? 'other.test' : own
  await files.announce(sql, sha256, text.length, now)
  const about = { contentType: 'text/plain', fileName: null, now: now++ }
  await media.add(sql, { serverName, mediaId, userId, sha256, ...about })
  return { serverName, mediaId }
}

const hidden = async (key: media.MediaKey) =>
  (await media.find(sql, key.serverName, key.mediaId))?.quarantined

test('all that a user has uploaded is quarantined, but for what is protected', async () => {
  const [first, second] = [await add('first'), await add('second')]
  const other = await add('other', 'other', '@bob:here.test')
  expect(await moderation.protect(sql, second, true)).toBe(true)
  expect(await moderation.quarantineOfUser(sql, alice, '@root:here.test')).toBe(1)
  expect(await Promise.all([first, second, other].map(hidden))).toEqual([true, false, false])
  expect(await moderation.quarantine(sql, [second], '@root:here.test')).toBe(0)
  await moderation.protect(sql, second, false)
  expect(await moderation.quarantine(sql, [second, other], '@root:here.test')).toBe(2)
})

test('media that is not there can be neither protected nor hidden', async () => {
  const nothing = { serverName: own, mediaId: 'nothing' }
  expect(await moderation.protect(sql, nothing, true)).toBe(false)
  expect(await moderation.quarantine(sql, [nothing], '@root:here.test')).toBe(0)
  expect(await moderation.remove(sql, [nothing], now)).toEqual([])
})

test('the media of a user is listed in an order, with its number', async () => {
  for (const name of ['one', 'two', 'three']) await add(name)
  await moderation.quarantine(sql, [{ serverName: own, mediaId: 'two' }], '@root:here.test')
  const listed = await moderation.listOfUser(sql, alice, {
    from: 1,
    limit: 5,
    order: 'created_ts',
    backwards: true,
  })
  expect(listed).toMatchObject({
    total: 3,
    media: [
      { mediaId: 'two', bytes: 3, quarantinedBy: '@root:here.test' },
      { mediaId: 'one', bytes: 3, quarantinedBy: null },
    ],
  })
})

test('old or large media of this server is found, but for what is protected or hidden', async () => {
  const keys = [await add('old'), await add('hidden'), await add('protected')]
  await moderation.quarantine(sql, [keys[1]!], '@root:here.test')
  await moderation.protect(sql, keys[2]!, true)
  await add('fetched', 'fetched', null)
  const before = now
  await add('young')
  const found = (range: { before: number; largerThan: number }) =>
    moderation.findLocal(sql, own, { ...range, keepProfiles: true, atMost: 10 })
  expect(await found({ before, largerThan: 0 })).toEqual([keys[0]!])
  expect(await found({ before: now, largerThan: 4 })).toMatchObject([{ mediaId: 'young' }])
})

test('the row of a file goes when nothing needs it, unless its content is quarantined', async () => {
  const [one, same, bad] = [await add('one'), await add('same', 'one'), await add('bad')]
  await moderation.quarantine(sql, [bad], '@root:here.test')
  const letGo = (text: string) => sql.begin((tx) => files.letGo(tx, hash(text), now))
  await moderation.remove(sql, [one, bad], now)
  expect(await letGo('one')).toBe(false)
  expect(await letGo('bad')).toBe(true)
  await moderation.remove(sql, [same], now)
  expect(await files.toLookAt(sql, now, 10)).toEqual([hash('one')].map((each) => Buffer.from(each)))
  expect(await letGo('one')).toBe(true)
  expect(await letGo('one')).toBe(false)
  // It is uploaded again, and is as hidden as before.
  expect(await hidden(await add('again', 'bad'))).toBe(true)
})

test('the picture of a user is kept from deletion by age, if so wanted', async () => {
  const [face, other] = [await add('face'), await add('other')]
  await sql`
    insert into profile_fields (shard, user_id, name, value, position)
    values (0, ${alice}, 'avatar_url', ${JSON.stringify(`mxc://${own}/face`)}, 1)`
  const found = (keepProfiles: boolean) =>
    moderation.findLocal(sql, own, { before: now, largerThan: 0, keepProfiles, atMost: 10 })
  expect(await found(true)).toEqual([other])
  expect(await found(false)).toEqual([face, other])
})

test('how much users have uploaded is summed up for each, in an order', async () => {
  await add('one', 'four')
  await add('two', 'seven77')
  await add('three', 'x', '@bob:here.test')
  const page = { from: 0, limit: 10, since: 0, until: now, term: undefined }
  const usage = (more: Partial<Parameters<typeof moderation.usage>[1]>) =>
    moderation.usage(sql, { ...page, order: 'media_length', backwards: true, ...more })
  const rows = [
    { user_id: alice, media_count: 2, media_length: 11 },
    { user_id: '@bob:here.test', media_count: 1, media_length: 1 },
  ]
  expect(await usage({})).toMatchObject({ total: 2, users: rows })
  expect(await usage({ backwards: false })).toMatchObject({ users: rows.toReversed() })
  expect(await usage({ term: 'BOB' })).toMatchObject({ total: 1, users: [rows[1]!] })
  expect(await usage({ term: '%' })).toEqual({ total: 0, users: [] })
  expect(await usage({ since: now + 1 })).toEqual({ total: 0, users: [] })
})

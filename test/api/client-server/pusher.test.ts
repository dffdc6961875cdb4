import { describe, expect, test } from 'bun:test'
import { testDatabase } from '#test/database.ts'
import { Home, type Person } from './home.ts'

const db = await testDatabase()
const home = await Home.open(db)
let keys = 0

const newKey = () => `key${++keys}`
const url = 'https://push.example.org/_matrix/push/v1/notify'
const pusher = (more: object = {}) => ({
  kind: 'http',
  app_id: 'org.example.app',
  app_display_name: 'App',
  device_display_name: 'Phone',
  lang: 'en',
  data: { url },
  ...more,
})
const set = (who: Person, body: unknown) => who.client.post('/pushers/set', body)
const list = async (who: Person) => (await who.client.get('/pushers')).body.pushers
const keysOf = async (who: Person) =>
  (await list(who)).map((each: { pushkey: string }) => each.pushkey)
const coded = ({ status, body }: { status: number; body: any }) => [status, body.errcode]

describe('pushers', () => {
  test('are listed as they were set, changed in their place, and deleted', async () => {
    const alice = await home.person('alice')
    const pushkey = newKey()
    expect(await list(alice)).toEqual([])
    const whole = pusher({ pushkey, profile_tag: 'xyz', data: { url, 'org.example': [1] } })
    expect((await set(alice, whole)).body).toEqual({})
    expect(await list(alice)).toEqual([whole])
    const other = newKey()
    await set(alice, pusher({ pushkey: other, profile_tag: null }))
    await set(alice, pusher({ pushkey, lang: 'de', data: { url, format: 'event_id_only' } }))
    expect(await list(alice)).toEqual([
      pusher({ pushkey, lang: 'de', data: { url, format: 'event_id_only' } }),
      pusher({ pushkey: other }),
    ])
    expect(coded(await set(alice, { kind: null, app_id: 'org.example.app', pushkey }))).toEqual([
      200,
      undefined,
    ])
    expect(await keysOf(alice)).toEqual([other])
    // What is not there is gone already.
    expect((await set(alice, { kind: null, app_id: 'org.example.app', pushkey })).status).toBe(200)
  })

  test('of one key are the last user’s, unless another one wants to share it', async () => {
    const [alice, bob, carol] = [
      await home.person('alice'),
      await home.person('bob'),
      await home.person('carol'),
    ]
    const pushkey = newKey()
    await set(alice, pusher({ pushkey }))
    await set(bob, pusher({ pushkey, append: true }))
    expect([await keysOf(alice), await keysOf(bob)]).toEqual([[pushkey], [pushkey]])
    // Another app may have the same key.
    await set(carol, pusher({ pushkey, app_id: 'org.example.other' }))
    expect([await keysOf(alice), await keysOf(carol)]).toEqual([[pushkey], [pushkey]])
    await set(carol, pusher({ pushkey }))
    expect([await keysOf(alice), await keysOf(bob)]).toEqual([[], []])
    expect(await keysOf(carol)).toEqual([pushkey, pushkey])
    // Nobody deletes another's.
    await set(bob, { kind: null, app_id: 'org.example.app', pushkey })
    expect(await keysOf(carol)).toEqual([pushkey, pushkey])
  })

  test('that many users set at once under one key are in the end one’s', async () => {
    const people = []
    for (let count = 0; count < 12; count++) people.push(await home.person('crowd'))
    const pushkey = newKey()
    const answers = await Promise.all(people.map((who) => set(who, pusher({ pushkey }))))
    expect(answers.map(({ status }) => status)).toEqual(people.map(() => 200))
    const left = (await Promise.all(people.map(keysOf))).flat()
    expect(left).toEqual([pushkey])
  })

  test('go with the device that set them, and with the password or the account', async () => {
    const alice = await home.person('alice')
    const [phone, tablet] = [await home.logIn(alice.userId), await home.logIn(alice.userId)]
    const [onFirst, onPhone, onTablet] = [newKey(), newKey(), newKey()]
    await set(alice, pusher({ pushkey: onFirst }))
    await set({ ...alice, client: phone.client }, pusher({ pushkey: onPhone }))
    await set({ ...alice, client: tablet.client }, pusher({ pushkey: onTablet }))
    expect(await keysOf(alice)).toEqual([onFirst, onPhone, onTablet])
    await phone.client.post('/logout')
    expect(await keysOf(alice)).toEqual([onFirst, onTablet])
    const auth = {
      type: 'm.login.password',
      identifier: { type: 'm.id.user', user: alice.userId },
      password: 'secret',
    }
    const changed = await alice.client.post('/account/password', { new_password: 'other', auth })
    expect(changed.status).toBe(200)
    expect(await keysOf(alice)).toEqual([onFirst])
    await alice.client.post('/logout/all')
    const again = await home.logIn(alice.userId)
    expect(await keysOf({ ...alice, client: again.client })).toEqual([])
  })

  test('that are gone leave nothing behind', async () => {
    const alice = await home.person('alice')
    await set(alice, pusher({ pushkey: newKey() }))
    const [row] = await db.pool<{ pusher_id: number; shard: number }[]>`
      select pusher_id, shard from pushers where user_id = ${alice.userId}`
    await db.pool`
      insert into push_queue (shard, pusher_id, queued_at)
      values (${row!.shard}, ${row!.pusher_id}, 0)`
    await alice.client.post('/logout')
    const left = await db.pool`select from push_queue where pusher_id = ${row!.pusher_id}`
    expect(left.length).toBe(0)
  })
})

describe('a pusher is refused', () => {
  const wrong: [name: string, body: object, errcode: string][] = [
    ['of no known kind', { kind: 'pigeon' }, 'M_INVALID_PARAM'],
    ['without a kind', { kind: undefined }, 'M_BAD_JSON'],
    ['whose kind is a number', { kind: 3 }, 'M_BAD_JSON'],
    ['without a key', { pushkey: undefined }, 'M_BAD_JSON'],
    ['with an empty key', { pushkey: '' }, 'M_INVALID_PARAM'],
    ['with a key that is too long', { pushkey: 'k'.repeat(513) }, 'M_INVALID_PARAM'],
    ['with a NUL in its key', { pushkey: 'a\0b' }, 'M_INVALID_PARAM'],
    ['with an app that is too long', { app_id: 'a'.repeat(65) }, 'M_INVALID_PARAM'],
    ['without names', { app_display_name: undefined, lang: undefined }, 'M_MISSING_PARAM'],
    ['whose name is no text', { device_display_name: {} }, 'M_INVALID_PARAM'],
    ['with a NUL in its name', { device_display_name: 'a\0' }, 'M_INVALID_PARAM'],
    ['without data', { data: undefined }, 'M_MISSING_PARAM'],
    ['whose data is a list', { data: [] }, 'M_INVALID_PARAM'],
    ['whose data is too long', { data: { url, more: 'x'.repeat(5_000) } }, 'M_INVALID_PARAM'],
    ['without an address', { data: {} }, 'M_MISSING_PARAM'],
    ['whose address is a number', { data: { url: 7 } }, 'M_INVALID_PARAM'],
    ['whose address is none', { data: { url: 'push' } }, 'M_INVALID_PARAM'],
    ['at a file', { data: { url: 'file:///etc/passwd' } }, 'M_INVALID_PARAM'],
    ['without TLS', { data: { url: url.replace('https', 'http') } }, 'M_INVALID_PARAM'],
    ['with another path', { data: { url: 'https://push.example.org/admin' } }, 'M_INVALID_PARAM'],
    ['with a password', { data: { url: url.replace('push.', 'a:b@push.') } }, 'M_INVALID_PARAM'],
    ['with a format that is no text', { data: { url, format: 1 } }, 'M_INVALID_PARAM'],
    ['by e-mail where there is none', { kind: 'email', app_id: 'm.email' }, 'M_INVALID_PARAM'],
  ]
  test.each(wrong)('%s', async (_name, more, errcode) => {
    const alice = await home.person('alice')
    const answer = await set(alice, pusher({ pushkey: newKey(), ...more }))
    expect(coded(answer)).toEqual([400, errcode])
    expect(answer.body.error.length).toBeGreaterThan(10)
    expect(await list(alice)).toEqual([])
  })

  test('by who is nobody, and beyond a hundred', async () => {
    expect(coded(await home.client.get('/pushers'))).toEqual([401, 'M_MISSING_TOKEN'])
    expect(coded(await home.client.post('/pushers/set', pusher()))).toEqual([
      401,
      'M_MISSING_TOKEN',
    ])
    const alice = await home.person('alice')
    const first = newKey()
    await set(alice, pusher({ pushkey: first }))
    const answers = await Promise.all(
      Array.from({ length: 105 }, () => set(alice, pusher({ pushkey: newKey() }))),
    )
    expect(answers.filter(({ status }) => status === 200)).toHaveLength(99)
    expect(coded(answers.find(({ status }) => status !== 200)!)).toEqual([413, 'M_TOO_LARGE'])
    // What is there can still be changed.
    expect((await set(alice, pusher({ pushkey: first, lang: 'fr' }))).status).toBe(200)
    expect(await list(alice)).toHaveLength(100)
  })
})

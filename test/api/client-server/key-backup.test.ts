import { describe, expect, test } from 'bun:test'
import { sweep } from '#engine/user/sweep.ts'
import { testDatabase } from '#test/database.ts'
import { Home, type Person } from './home.ts'

const db = await testDatabase()
const home = await Home.open(db)
const algorithm = 'm.megolm_backup.v1.curve25519-aes-sha2'
const info = { algorithm, auth_data: { public_key: 'abc', signatures: {} } }
const room = encodeURIComponent('!room:here.example')

const key = (more: object = {}) => ({
  first_message_index: 1,
  forwarded_count: 0,
  is_verified: false,
  session_data: { ciphertext: 'x' },
  ...more,
})
const create = async (by: Person): Promise<string> =>
  (await by.client.post('/room_keys/version', info)).body.version
const codes = ({ status, body }: { status: number; body: { errcode?: string } }) => [
  status,
  body.errcode,
]

describe('backups', () => {
  test('have versions, of which the newest is the current one', async () => {
    const alice = await home.person('alice')
    expect(codes(await alice.client.get('/room_keys/version'))).toEqual([404, 'M_NOT_FOUND'])
    const [one, two] = [await create(alice), await create(alice)]
    expect([one, two]).toEqual(['1', '2'])
    const current = await alice.client.get('/room_keys/version')
    expect(current.body).toEqual({ ...info, version: two, count: 0, etag: '0' })
    expect((await alice.client.get(`/room_keys/version/${one}`)).body.version).toBe(one)
    for (const version of ['3', '0', 'x', '99999999999999999999'])
      expect(codes(await alice.client.get(`/room_keys/version/${version}`))).toEqual([
        404,
        'M_NOT_FOUND',
      ])
    const bob = await home.person('bob')
    expect((await bob.client.get(`/room_keys/version/${one}`)).status).toBe(404)
  })

  test('change their data, and nothing else', async () => {
    const alice = await home.person('alice')
    const version = await create(alice)
    const path = `/room_keys/version/${version}`
    const auth_data = { public_key: 'new' }
    expect((await alice.client.put(path, { ...info, auth_data, version })).status).toBe(200)
    expect((await alice.client.get(path)).body.auth_data).toEqual(auth_data)
    for (const bad of [
      { ...info, algorithm: 'm.other' },
      { ...info, version: '7' },
    ])
      expect(codes(await alice.client.put(path, bad))).toEqual([400, 'M_INVALID_PARAM'])
    expect(codes(await alice.client.put('/room_keys/version/7', info))).toEqual([
      404,
      'M_NOT_FOUND',
    ])
    expect(codes(await alice.client.put(path, { algorithm }))).toEqual([400, 'M_BAD_JSON'])
  })

  test('are deleted with their keys, and their numbers are not used again', async () => {
    const alice = await home.person('alice')
    const [one, two] = [await create(alice), await create(alice)]
    await alice.client.put(`/room_keys/keys/${room}/S?version=${two}`, key())
    expect((await alice.client.delete(`/room_keys/version/${two}`)).status).toBe(200)
    expect((await alice.client.delete(`/room_keys/version/${two}`)).status).toBe(200)
    expect(codes(await alice.client.delete('/room_keys/version/9'))).toEqual([404, 'M_NOT_FOUND'])
    for (const path of ['keys', `keys/${room}`, `keys/${room}/S`])
      expect((await alice.client.get(`/room_keys/${path}?version=${two}`)).status).toBe(404)
    expect((await alice.client.get('/room_keys/version')).body.version).toBe(one)
    await sweep(db.pool, home.now)
    expect(await db.pool`select from backed_up_keys where user_id = ${alice.userId}`).toHaveLength(
      0,
    )
    expect(await create(alice)).toBe('3')
  })
})

describe('keys in a backup', () => {
  test('are stored and read one by one, by room, and all together', async () => {
    const alice = await home.person('alice')
    const version = await create(alice)
    const put = async (path: string, body: object) =>
      (await alice.client.put(`/room_keys/${path}?version=${version}`, body)).body
    const get = async (path: string) =>
      (await alice.client.get(`/room_keys/${path}?version=${version}`)).body
    expect(await get('keys')).toEqual({ rooms: {} })
    expect(await get(`keys/${room}`)).toEqual({ sessions: {} })
    expect(codes({ status: 404, body: await get(`keys/${room}/S1`) })).toEqual([404, 'M_NOT_FOUND'])
    expect(await put(`keys/${room}/S1`, key())).toEqual({ etag: '1', count: 1 })
    expect(await put(`keys/${room}`, { sessions: { S2: key(), S3: key() } })).toEqual({
      etag: '3',
      count: 3,
    })
    const other = '!other:here.example'
    const all = { rooms: { [other]: { sessions: { S1: key({ forwarded_count: 2 }) } } } }
    expect(await put('keys', all)).toEqual({ etag: '4', count: 4 })
    expect(await get(`keys/${room}/S1`)).toEqual(key())
    const sessions = { S1: key(), S2: key(), S3: key() }
    expect(await get(`keys/${room}`)).toEqual({ sessions })
    expect(await get('keys')).toEqual({
      rooms: { '!room:here.example': { sessions }, ...all.rooms },
    })
    expect((await alice.client.get('/room_keys/version')).body).toMatchObject({
      count: 4,
      etag: '4',
    })
    const remove = async (path: string) =>
      (await alice.client.delete(`/room_keys/${path}?version=${version}`)).body
    expect(await remove(`keys/${room}/S1`)).toEqual({ etag: '5', count: 3 })
    expect(await remove(`keys/${room}/S1`)).toEqual({ etag: '5', count: 3 })
    expect(await remove(`keys/${room}`)).toEqual({ etag: '6', count: 1 })
    expect(await remove('keys')).toEqual({ etag: '7', count: 0 })
    expect(await get('keys')).toEqual({ rooms: {} })
  })

  test('are read whole, however many they are', async () => {
    const alice = await home.person('alice')
    const version = await create(alice)
    const rooms = Object.fromEntries(
      ['!a', '!b', '!c'].map((name) => [
        name,
        {
          sessions: Object.fromEntries(
            Array.from({ length: 400 }, (_, n) => [`S${n}`, key({ first_message_index: n })]),
          ),
        },
      ]),
    )
    await alice.client.put(`/room_keys/keys?version=${version}`, { rooms })
    expect((await alice.client.get(`/room_keys/keys?version=${version}`)).body).toEqual({ rooms })
    const one = await alice.client.get(`/room_keys/keys/!b?version=${version}`)
    expect(one.body).toEqual(rooms['!b'])
  })

  test('give way to better ones only', async () => {
    const alice = await home.person('alice')
    const version = await create(alice)
    const path = `/room_keys/keys/${room}/S?version=${version}`
    const rounds: [object, boolean][] = [
      [{ first_message_index: 5, forwarded_count: 5 }, true],
      [{ first_message_index: 5, forwarded_count: 5, session_data: { other: 1 } }, false],
      [{ first_message_index: 5, forwarded_count: 6 }, false],
      [{ first_message_index: 5, forwarded_count: 4 }, true],
      [{ first_message_index: 6, forwarded_count: 0 }, false],
      [{ first_message_index: 4, forwarded_count: 9 }, true],
      [{ first_message_index: 9, forwarded_count: 9, is_verified: true }, true],
      [{ first_message_index: 0, forwarded_count: 0, is_verified: false }, false],
    ]
    let kept: object = {}
    let etag = 0
    for (const [more, better] of rounds) {
      if (better) [kept, etag] = [key(more), etag + 1]
      const { body } = await alice.client.put(path, key(more))
      expect(body).toEqual({ etag: String(etag), count: 1 })
      expect((await alice.client.get(path)).body).toEqual(kept)
    }
  })

  test('go into the current version only, and others are told which it is', async () => {
    const alice = await home.person('alice')
    const path = (version: string) => `/room_keys/keys/${room}/S?version=${version}`
    expect(codes(await alice.client.put(path('1'), key()))).toEqual([404, 'M_NOT_FOUND'])
    const [one, two] = [await create(alice), await create(alice)]
    const refused = await alice.client.put(path(one), key())
    expect([refused.status, refused.body]).toEqual([
      403,
      {
        errcode: 'M_WRONG_ROOM_KEYS_VERSION',
        error: 'Wrong backup version.',
        current_version: two,
      },
    ])
    expect((await alice.client.put(path('7'), key())).body.current_version).toBe(two)
    expect((await alice.client.put(path(two), key())).status).toBe(200)
    expect(codes(await alice.client.put(`/room_keys/keys/${room}/S`, key()))).toEqual([
      400,
      'M_MISSING_PARAM',
    ])
    for (const bad of [
      key({ first_message_index: -1 }),
      key({ is_verified: 'yes' }),
      key({ session_data: 'text' }),
      {},
    ])
      expect(codes(await alice.client.put(path(two), bad))).toEqual([400, 'M_BAD_JSON'])
    expect((await home.client.get(path(two))).status).toBe(401)
  })
})

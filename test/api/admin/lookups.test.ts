import { beforeEach, describe, expect, test } from 'bun:test'
import { shardOf } from '#core/shard.ts'
import type { Answer } from '#test/client.ts'
import { testDatabase } from '#test/database.ts'
import { Home } from '#test/api/client-server/home.ts'

const db = await testDatabase()
const home = await Home.open(db)
const root = await home.person('root', { admin: true })
const admin = root.client
const outcome = ({ status, body }: Answer) => [status, body?.errcode]
const v1 = '/_synapse/admin/v1'
const enc = encodeURIComponent
beforeEach(async () => {
  await db.pool`truncate reports, destinations`
})

test('the version of the server is told', async () => {
  const { body } = await admin.get(`${v1}/server_version`)
  expect(body).toEqual({ server_version: expect.stringMatching(/^Laneway \d+\.\d+/) })
})

describe('reports of events', () => {
  test('are listed with what is known of the event, shown, and deleted', async () => {
    const [ann, bob] = [await home.person('ann'), await home.person('bob')]
    const room = await home.story.room(ann.userId)
    await room.state(ann.userId, 'm.room.name', '', { name: 'Market' })
    await room.member(bob.userId, 'join')
    const said = await room.send(ann.userId, 'buy this')
    const path = `/rooms/${enc(room.roomId)}/report/${enc(said.eventId)}`
    await bob.client.post(path, { reason: 'spam' })
    home.now += 1000
    await ann.client.post(path, { reason: 'mine' })
    const list = async (query = '') => (await admin.get(`${v1}/event_reports${query}`)).body
    const all = await list()
    expect(all).toMatchObject({
      total: 2,
      event_reports: [
        { reason: 'mine', user_id: ann.userId },
        {
          reason: 'spam',
          user_id: bob.userId,
          sender: ann.userId,
          room_id: room.roomId,
          event_id: said.eventId,
          name: 'Market',
          canonical_alias: null,
          received_ts: home.now - 1000,
        },
      ],
    })
    expect((await list('?dir=f')).event_reports[0].reason).toBe('spam')
    expect(await list('?limit=1')).toMatchObject({ next_token: 1, event_reports: [{}] })
    expect((await list(`?user_id=${enc(bob.userId)}`)).total).toBe(1)
    expect((await list('?room_id=elsewhere')).total).toBe(0)
    const one = `${v1}/event_reports/${all.event_reports[1].id}`
    expect((await admin.get(one)).body).toMatchObject({
      reason: 'spam',
      event_json: { content: { body: 'buy this' }, event_id: said.eventId },
    })
    expect((await admin.delete(one)).body).toEqual({})
    for (const gone of [await admin.get(one), await admin.delete(one)])
      expect(outcome(gone)).toEqual([404, 'M_NOT_FOUND'])
    for (const id of ['0', 'x', '9'.repeat(30), '-1'])
      expect(outcome(await admin.get(`${v1}/event_reports/${id}`))).toEqual([404, 'M_NOT_FOUND'])
  })

  test('stay when the room is gone', async () => {
    await db.pool`
      insert into reports (reported_at, reporter, room_id, event_id, reason)
      values (1, '@a:here.example', '!gone:x', '$gone', '')`
    const { body } = await admin.get(`${v1}/event_reports`)
    expect(body.event_reports).toMatchObject([{ name: null, sender: null, room_id: '!gone:x' }])
    const one = await admin.get(`${v1}/event_reports/${body.event_reports[0].id}`)
    expect(one.status).toBe(200)
    expect(one.body).not.toHaveProperty('event_json')
  })
})

test('reports of users are listed, shown, and deleted', async () => {
  const [ann, bob] = [await home.person('ann'), await home.person('bob')]
  await bob.client.post(`/users/${ann.userId}/report`, { reason: 'rude' })
  const { body } = await admin.get(`${v1}/user_reports?target_user_id=${enc(ann.userId)}`)
  const { id } = body.user_reports[0]
  const report = {
    id,
    received_ts: home.now,
    user_id: bob.userId,
    target_user_id: ann.userId,
    reason: 'rude',
  }
  expect(body).toEqual({ user_reports: [report], total: 1 })
  expect((await admin.get(`${v1}/user_reports/${id}`)).body).toEqual(report)
  expect(outcome(await admin.get(`${v1}/event_reports/${id}`))).toEqual([404, 'M_NOT_FOUND'])
  expect((await admin.delete(`${v1}/user_reports/${id}`)).status).toBe(200)
  expect((await admin.get(`${v1}/user_reports`)).body).toEqual({ user_reports: [], total: 0 })
})

describe('other servers', () => {
  const path = `${v1}/federation/destinations`

  test('are listed with how they can be reached, and the rooms shared with them', async () => {
    await db.pool`
      insert into destinations (server, failing_since, failures, retry_at, last_success)
      values ('well.example', null, 0, 0, 5), ('ill.example', 1000, 3, 61000, 5)`
    const ill = {
      destination: 'ill.example',
      failure_ts: 1000,
      retry_last_ts: 1000,
      retry_interval: 60_000,
      last_successful_stream_ordering: null,
    }
    const { body } = await admin.get(path)
    expect(body).toMatchObject({ total: 2, destinations: [ill, { destination: 'well.example' }] })
    const sorted = await admin.get(`${path}?order_by=failure_ts&destination=ELL&limit=1`)
    expect(sorted.body).toMatchObject({ total: 1, destinations: [{ failure_ts: null }] })
    expect((await admin.get(`${path}/ill.example`)).body).toEqual(ill)
    const room = await home.story.room(root.userId)
    await room.member('@far:ill.example', 'join')
    expect((await admin.get(`${path}/ill.example/rooms`)).body).toEqual({
      rooms: [{ room_id: room.roomId, stream_ordering: null }],
      total: 1,
    })
    for (const rest of ['none.example', 'none.example/rooms'])
      expect(outcome(await admin.get(`${path}/${rest}`))).toEqual([404, 'M_NOT_FOUND'])
    expect((await admin.get(`${path}?order_by=x`)).status).toBe(400)
  })

  test('that cannot be reached are tried again at once', async () => {
    await db.pool`
      insert into destinations (server, failing_since, retry_at)
      values ('ill.example', 1000, 61000), ('well.example', null, 0)`
    const reset = (server: string) => admin.post(`${path}/${server}/reset_connection`)
    expect((await reset('ill.example')).body).toEqual({})
    expect(home.signals.splice(0)).toEqual([{ s: 'heard-from', servers: ['ill.example'] }])
    expect(outcome(await reset('well.example'))).toEqual([400, 'M_UNKNOWN'])
    expect(outcome(await reset('none.example'))).toEqual([404, 'M_NOT_FOUND'])
    expect(home.signals).toEqual([])
  })
})

describe('of a user', () => {
  test('all memberships, and what their clients keep here, are shown', async () => {
    const ann = await home.person('ann')
    const [joined, left] = [await home.story.room(ann.userId), await home.story.room(root.userId)]
    await left.member(ann.userId, 'join')
    await left.member(ann.userId, 'leave')
    const path = `${v1}/users/${ann.userId}`
    expect((await admin.get(`${path}/memberships`)).body).toEqual({
      memberships: { [joined.roomId]: 'join', [left.roomId]: 'leave' },
    })
    await ann.client.put(`/user/${ann.userId}/account_data/org.x`, { kept: 1 })
    const inRoom = `/user/${ann.userId}/rooms/${enc(joined.roomId)}/account_data/__proto__`
    await ann.client.put(inRoom, { odd: true })
    const { body } = await admin.get(`${path}/accountdata`)
    expect(body.account_data.global['org.x']).toEqual({ kept: 1 })
    expect(Object.entries(body.account_data.rooms[joined.roomId])).toEqual([
      ['__proto__', { odd: true }],
    ])
    for (const rest of ['memberships', 'accountdata'])
      expect(outcome(await admin.get(`${v1}/users/@no:here.example/${rest}`))).toEqual([
        404,
        'M_NOT_FOUND',
      ])
  })

  test('the pushers are shown', async () => {
    const ann = await home.person('ann')
    const pusher = {
      app_id: 'org.x',
      pushkey: 'ann@example.org',
      kind: 'email',
      app_display_name: 'Mail',
      device_display_name: 'Any',
      lang: 'en',
    }
    await db.pool`
      insert into pushers ${db.pool({
        ...pusher,
        user_id: ann.userId,
        shard: shardOf(ann.userId),
        position: 1,
        created_at: 1,
        gateway: '',
        device_id: '',
        data: '{"brand":"x"}',
      })}`
    const { body } = await admin.get(`${v1}/users/${ann.userId}/pushers`)
    expect(body).toEqual({
      pushers: [{ ...pusher, profile_tag: null, data: { brand: 'x' } }],
      total: 1,
    })
    expect((await admin.get(`${v1}/users/@no:here.example/pushers`)).status).toBe(404)
  })

  test('the ID is found by an address', async () => {
    const ann = await home.person('ann')
    const threepids = [{ medium: 'email', address: 'ann@example.org' }]
    await admin.put(`/_synapse/admin/v2/users/${ann.userId}`, { threepids })
    const find = (medium: string, address: string) =>
      admin.get(`${v1}/threepid/${medium}/users/${enc(address)}`)
    expect((await find('email', 'ANN@example.org')).body).toEqual({ user_id: ann.userId })
    for (const [medium, address] of [
      ['email', 'bob@example.org'],
      ['email', 'none'],
      ['msisdn', 'ann@example.org'],
    ] as const)
      expect(outcome(await find(medium, address))).toEqual([404, 'M_NOT_FOUND'])
  })
})

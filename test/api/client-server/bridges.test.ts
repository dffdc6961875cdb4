import { beforeEach, describe, expect, test } from 'bun:test'
import { testDatabase } from '#test/database.ts'
import { Bridging, openListener, registered } from '#test/engine/appservice/bridging.ts'
import { freePorts } from '#test/ports.ts'
import { until } from '#test/until.ts'

const db = await testDatabase()
const listener = openListener()
const [closed] = await freePorts(1)
const irc = registered('irc', listener.url, {
  protocols: ['irc'],
  namespaces: {
    users: [{ regex: '@_irc_.*', exclusive: true }],
    aliases: [{ regex: '#irc_.*', exclusive: true }],
  },
})
const away = registered('away', `http://127.0.0.1:${closed}`, {
  namespaces: {
    users: [{ regex: '@_away_.*', exclusive: true }],
    aliases: [{ regex: '#away_.*', exclusive: true }],
  },
})
const quiet = registered('quiet', null)
const bridging = await Bridging.open(db, [irc, away, quiet])
const { home } = bridging
const alice = await home.person('alice')
const asIrc = home.client.as(irc.asToken)

beforeEach(() => {
  listener.questions.length = 0
  listener.answer = () => Response.json({}, { status: 404 })
})

describe('a ping', () => {
  const path = (id: string) => `/_matrix/client/v1/appservice/${id}/ping`

  test('goes to the application service and back, and says how long that took', async () => {
    let body = ''
    listener.answer = (_path, _query, text) => {
      body = text
      return Response.json({})
    }
    const answer = await asIrc.post(path('irc'), { transaction_id: 'meow' })
    expect(answer).toMatchObject({ status: 200, body: { duration_ms: expect.any(Number) } })
    expect(JSON.parse(body)).toEqual({ transaction_id: 'meow' })
    expect(listener.questions).toEqual([
      { method: 'POST', path: '/_matrix/app/v1/ping', query: '', token: 'Bearer hs-secret' },
    ])
  })

  test('tells what went wrong', async () => {
    listener.answer = () => Response.json({ errcode: 'M_FORBIDDEN' }, { status: 403 })
    expect(await asIrc.post(path('irc'), {})).toMatchObject({
      status: 502,
      body: { errcode: 'M_BAD_STATUS', status: 403, body: '{"errcode":"M_FORBIDDEN"}' },
    })
    expect(await home.client.as(away.asToken).post(path('away'), {})).toMatchObject({
      status: 502,
      body: { errcode: 'M_CONNECTION_FAILED' },
    })
    expect(await home.client.as(quiet.asToken).post(path('quiet'), {})).toMatchObject({
      status: 400,
      body: { errcode: 'M_URL_NOT_SET' },
    })
  })

  test('is for the application service itself alone', async () => {
    for (const [client, id] of [
      [asIrc, 'away'],
      [asIrc, 'nobody'],
      [alice.client, 'irc'],
    ] as const)
      expect(await client.post(path(id), {})).toMatchObject({
        status: 403,
        body: { errcode: 'M_FORBIDDEN' },
      })
    expect((await home.client.post(path('irc'), {})).status).toBe(401)
    expect(listener.questions).toEqual([])
  })

  test('has what failed before sent again at once', async () => {
    const ghost = await bridging.ghost(irc, 'pinging')
    const room = await home.story.room(ghost)
    listener.take = () => new Response('', { status: 500 })
    await room.send(ghost, 'late')
    await until(() =>
      bridging.bridges.counts.some(({ id, failures }) => id === 'irc' && failures > 0),
    )
    listener.take = () => Response.json({})
    listener.answer = () => Response.json({})
    await asIrc.post(path('irc'), {})
    // Its clock stands still: by itself nothing is sent any more.
    await until(() => listener.texts.includes('late'))
    await until(() => bridging.bridges.counts.every(({ failures }) => failures === 0))
  })
})

describe('what is unknown here', () => {
  test('is made by an application service when somebody asks for it', async () => {
    listener.answer = async (path) => {
      const name = decodeURIComponent(path.split('/').at(-1)!)
      if (name === '@_irc_fresh:here.example') await bridging.ghost(irc, 'fresh')
      else if (name === '#irc_den:here.example') {
        const room = await home.story.room(alice.userId)
        await asIrc.put(`/directory/room/${encodeURIComponent(name)}`, { room_id: room.roomId })
        await db.pool`
          insert into room_aliases (alias, room_id, creator, created_at)
          values (${name}, ${room.roomId}, ${alice.userId}, 0) on conflict do nothing`
      } else return Response.json({ errcode: 'M_NOT_FOUND' }, { status: 404 })
      return Response.json({})
    }
    const profile = (name: string) => home.client.get(`/profile/@_irc_${name}:here.example`)
    expect((await profile('fresh')).status).toBe(200)
    expect((await profile('fresh')).status).toBe(200)
    expect((await profile('never')).status).toBe(404)
    const alias = (name: string) =>
      home.client.get(`/directory/room/${encodeURIComponent(`#${name}:here.example`)}`)
    expect((await alias('irc_den')).status).toBe(200)
    expect((await alias('irc_none')).status).toBe(404)
    expect((await alias('other')).status).toBe(404)
    expect(listener.questions.map(({ path }) => path)).toEqual([
      '/_matrix/app/v1/users/%40_irc_fresh%3Ahere.example',
      '/_matrix/app/v1/users/%40_irc_never%3Ahere.example',
      '/_matrix/app/v1/rooms/%23irc_den%3Ahere.example',
      '/_matrix/app/v1/rooms/%23irc_none%3Ahere.example',
    ])
  })

  test('is made when somebody invites it', async () => {
    home.roomAnswers = {
      changeMembership: () => ({ eventId: '$a', shard: 0, position: 0 }),
    }
    listener.answer = async () => {
      await bridging.ghost(irc, 'invited')
      return Response.json({})
    }
    const room = await home.story.room(alice.userId)
    const answer = await alice.client.post(`/rooms/${encodeURIComponent(room.roomId)}/invite`, {
      user_id: '@_irc_invited:here.example',
    })
    expect(answer.status).toBe(200)
    expect(listener.questions).toHaveLength(1)
  })
})

describe('what one would make that does not answer', () => {
  test('is 408 for who asks, and is invited all the same', async () => {
    const user = '@_away_somebody:here.example'
    const asked = await Promise.all([
      home.client.get(`/profile/${user}`),
      home.client.get(`/directory/room/${encodeURIComponent('#away_den:here.example')}`),
      alice.client.post(`/join/${encodeURIComponent('#away_den:here.example')}`, {}),
    ])
    expect(asked.map(({ status, body }) => [status, body.errcode])).toEqual([
      [408, 'M_UNKNOWN'],
      [408, 'M_UNKNOWN'],
      [408, 'M_UNKNOWN'],
    ])
    home.roomAnswers = { changeMembership: () => ({ eventId: '$a', shard: 0, position: 0 }) }
    const room = await home.story.room(alice.userId)
    const invite = await alice.client.post(`/rooms/${encodeURIComponent(room.roomId)}/invite`, {
      user_id: user,
    })
    expect(invite.status).toBe(200)
  })
})

describe('third-party networks', () => {
  const protocol = {
    user_fields: ['nick'],
    location_fields: ['channel'],
    icon: 'mxc://here.example/icon',
    field_types: {
      nick: { regexp: '.+', placeholder: 'nick' },
      channel: { regexp: '#.+', placeholder: '#channel' },
    },
    instances: [{ desc: 'Libera', network_id: 'libera', fields: {} }],
  }
  const found = { alias: '#irc_x:here.example', protocol: 'irc', fields: { channel: '#x' } }

  test('are those of application services, as they tell of them', async () => {
    listener.answer = (path, query) => {
      if (path.endsWith('/protocol/irc')) return Response.json(protocol)
      if (path.endsWith('/location/irc') && query.get('channel') === '#x' && query.size === 1)
        return Response.json([found])
      if (path.endsWith('/thirdparty/location')) return Response.json([found])
      return Response.json([])
    }
    const { client } = alice
    const told = {
      ...protocol,
      instances: [{ ...protocol.instances[0], instance_id: 'irc|libera' }],
    }
    expect((await client.get('/thirdparty/protocols')).body).toEqual({ irc: told })
    expect((await client.get('/thirdparty/protocol/irc')).body).toEqual(told)
    expect((await client.get('/thirdparty/location/irc?channel=%23x')).body).toEqual([found])
    expect((await client.get('/thirdparty/user/irc')).body).toEqual([])
    const alias = encodeURIComponent(found.alias)
    expect((await client.get(`/thirdparty/location?alias=${alias}`)).body).toEqual([found])
    expect((await client.get('/thirdparty/user?userid=@bob:here.example')).body).toEqual([])
    for (const path of ['protocol', 'location', 'user'])
      expect((await client.get(`/thirdparty/${path}/xmpp`)).status).toBe(404)
  })

  test('have directories of their own, beside that of the server', async () => {
    const [own, listed] = [await home.story.room(alice.userId), await home.story.room(alice.userId)]
    await db.pool`insert into published_rooms (room_id, published_at) values (${own.roomId}, 0)`
    const path = `/directory/list/appservice/libera/${encodeURIComponent(listed.roomId)}`
    expect((await alice.client.put(path, { visibility: 'public' })).status).toBe(403)
    expect((await asIrc.put(path, { visibility: 'public' })).body).toEqual({})
    expect((await asIrc.put(path, { visibility: 'public' })).body).toEqual({})
    expect(
      (
        await asIrc.put('/directory/list/appservice/libera/!no:here.example', {
          visibility: 'public',
        })
      ).status,
    ).toBe(404)
    const list = async (body: object) => {
      const answer = await alice.client.post('/publicRooms', body)
      expect(answer.status).toBe(200)
      expect(answer.body.total_room_count_estimate).toBe(answer.body.chunk.length)
      return new Set(answer.body.chunk.map((room: { room_id: string }) => room.room_id))
    }
    const network = { third_party_instance_id: 'irc|libera' }
    expect(await list({})).toEqual(new Set([own.roomId]))
    expect(await list(network)).toEqual(new Set([listed.roomId]))
    expect(await list({ include_all_networks: true })).toEqual(new Set([own.roomId, listed.roomId]))
    for (const other of ['away|libera', 'libera', 'irc|oftc'])
      expect(await list({ third_party_instance_id: other })).toEqual(new Set())
    await asIrc.put(path, { visibility: 'private' })
    expect(await list(network)).toEqual(new Set())
  })

  test('keep a room that is replaced listed, as what takes its place', async () => {
    const old = await home.story.room(alice.userId)
    const path = (networkId: string) =>
      `/directory/list/appservice/${networkId}/${encodeURIComponent(old.roomId)}`
    for (const networkId of ['libera', 'oftc'])
      await asIrc.put(path(networkId), { visibility: 'public' })
    const landed = () => ({ eventId: '$a', shard: 0, position: 0 })
    home.roomAnswers = { create: landed, send: landed }
    const { status, body } = await alice.client.post(
      `/rooms/${encodeURIComponent(old.roomId)}/upgrade`,
      { new_version: '11' },
    )
    expect({ status, body }).toMatchObject({ status: 200 })
    const rows = await db.pool<{ network_id: string; room_id: string }[]>`
      select network_id, room_id from network_rooms
      where appservice_id = 'irc' order by network_id`
    const next = body.replacement_room as string
    expect(rows.map(({ network_id: id, room_id: roomId }) => [id, roomId])).toEqual([
      ['libera', next],
      ['oftc', next],
    ])
  })
})

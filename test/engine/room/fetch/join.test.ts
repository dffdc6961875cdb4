import { expect, test } from 'bun:test'
import { parseJson } from '#core/canonical-json.ts'
import { parsePdu } from '#core/event/check.ts'
import { type JsonObject, without } from '#core/json.ts'
import { roomVersions } from '#core/room-version.ts'
import { signaturesOf } from '#core/signing.ts'
import { remoteJoin, resumeJoin } from '#engine/room/fetch/join.ts'
import { failureOf, first, lying, scene, second, us } from '#test/engine/room/fetch/join-scene.ts'

test.each(['1', '2', '3', '6', '8', '10', '11', '12'])(
  'a user joins a room of version %s',
  async (version) => {
    const { room, residents, signed, join } = scene(version)
    const joined = await remoteJoin(join)
    expect(joined.version.id).toBe(version)
    expect(joined.create.eventId).toBe(room.create.eventId)
    expect(joined.state.map(({ eventId }) => eventId).sort()).toEqual(
      room
        .currentState()
        .map(({ eventId }) => eventId)
        .sort(),
    )
    expect(joined.join.content).toEqual({ displayname: 'Alice', membership: 'join' })
    expect(joined.servers).toEqual([first.name])
    expect(joined.server).toBe(first.name)
    const parsed = parsePdu(room.version, parseJson(joined.json))
    expect(parsed).toMatchObject({ ok: { eventId: joined.join.eventId, roomId: room.roomId } })
    // It was made durable before it was handed in.
    expect(signed).toEqual([{ version, event: joined.json, via: [first.name, second.name] }])
    expect(residents.questions.map(({ name }) => name)).toEqual(['make_join', 'send_join'])
    expect(residents.asked('send_join')[0]!.query.has('omit_members')).toBe(false)
    expect(residents.keyCalls).toHaveLength(1)
  },
)

test('the auth chain comes parents first, each event once, the state among it', async () => {
  const { room, join } = scene('10')
  for (let count = 0; count < 5; count++) room.join(second.user(`u${count}`))
  const { authChain, state } = await remoteJoin(join)
  const ids = authChain.map(({ eventId }) => eventId)
  expect(new Set(ids).size).toBe(ids.length)
  for (const [index, event] of authChain.entries())
    for (const id of event.authEvents) expect(ids.slice(0, index)).toContain(id)
  // The users, the creator and what a room begins with.
  expect(state.length).toBeGreaterThan(6)
  for (const { eventId } of state) expect(ids).toContain(eventId)
})

test('servers of joined members are servers of the room', async () => {
  const { room, join } = scene('11')
  room.join(second.user('bob'))
  expect((await remoteJoin(join)).servers.sort()).toEqual([first.name, second.name])
})

test('a server whose keys cannot be had at once is waited for, and its users are not lost', async () => {
  const { room, residents, join } = scene('11')
  const bob = room.join(second.user('bob'))
  residents.keyless.add(second.name)
  const { call } = residents
  const federation = {
    call: ((method: string, ...args: never[]) => {
      if (method === 'keys' && residents.keyCalls.length > 0) residents.keyless.clear()
      return (call as (...all: unknown[]) => unknown)(method, ...args)
    }) as typeof call,
  }
  const joined = await remoteJoin({ ...join, federation })
  expect(joined.state.map(({ eventId }) => eventId)).toContain(bob.eventId)
  // Only those that were lacking are asked for again.
  expect(residents.keyCalls.at(-1)!.map(({ server }) => server)).toEqual([second.name])
})

test('a restricted join counts with the signature of the server that authorises it', async () => {
  const { join, residents } = scene('10', { join_rule: 'restricted', allow: [] })
  const joined = await remoteJoin(join)
  expect(joined.join.content['join_authorised_via_users_server']).toBe(first.user('creator'))
  expect(signaturesOf(joined.join.pdu, first.name)).toHaveLength(1)
  expect(signaturesOf(joined.join.pdu, us.name)).toHaveLength(1)
  expect(parseJson(joined.json)).toEqual(joined.join.pdu)
  // Without that signature, or with a wrong one, it is no join.
  residents.lie = lying('send_join', (body) => without(body, 'event'))
  expect((await failureOf(join)).status).toBe(502)
  residents.lie = lying('send_join', (body, { body: sent }) => ({ ...body, event: sent! }))
  expect((await failureOf(join)).message).toContain('first.test has not signed')
  residents.lie = lying('send_join', (body) => {
    const event = body['event'] as { signatures: JsonObject }
    const [signature] = Object.values(event.signatures[us.name] as JsonObject)
    event.signatures[first.name] = { [first.key.keyId]: signature! }
    return body
  })
  expect((await failureOf(join)).message).toContain('first.test has not signed')
})

test('a restricted join that comes back as another event is refused', async () => {
  const { join, residents } = scene('11', { join_rule: 'restricted', allow: [] })
  residents.lie = lying('send_join', (body) => {
    const event = body['event'] as JsonObject
    return { ...body, event: { ...event, content: { membership: 'join', displayname: 'Eve' } } }
  })
  expect((await failureOf(join)).message).toContain('another event')
})

test('what servers refuse is told as they told it', async () => {
  const { join, residents } = scene('11')
  const all = (status: number, errcode: string) => () => ({
    status,
    body: { errcode, error: 'because' },
  })
  residents.lie = all(403, 'M_FORBIDDEN')
  expect(await failureOf(join)).toMatchObject({ status: 403, errcode: 'M_FORBIDDEN' })
  residents.lie = all(404, 'M_NOT_FOUND')
  expect(await failureOf(join)).toMatchObject({ status: 404, errcode: 'M_NOT_FOUND' })
  residents.lie = all(400, 'M_UNABLE_TO_GRANT_JOIN')
  expect(await failureOf(join)).toMatchObject({ status: 400, errcode: 'M_UNABLE_TO_GRANT_JOIN' })
  residents.lie = all(400, 'M_MISSING_PARAM')
  expect(await failureOf(join)).toMatchObject({ status: 502, errcode: 'M_UNKNOWN' })
  residents.lie = all(500, 'M_UNKNOWN')
  expect(await failureOf(join)).toMatchObject({ status: 502, errcode: 'M_UNKNOWN' })
  expect(await failureOf({ ...join, via: [] })).toMatchObject({ status: 404 })
})

test('no more servers are asked when three have refused', async () => {
  const { join, residents } = scene('11')
  residents.lie = () => ({ status: 403, body: { errcode: 'M_FORBIDDEN', error: 'No' } })
  await failureOf({ ...join, via: ['a.test', 'b.test', 'c.test', 'd.test', 'e.test'] })
  expect(residents.questions).toHaveLength(3)
})

test('a server that never answers costs no more than the deadline', async () => {
  const { join, residents } = scene('11')
  residents.lie = () => undefined
  const failure = await failureOf({ ...join, deadlineMs: 50 })
  expect(failure).toMatchObject({ status: 504, errcode: 'M_UNKNOWN' })
})

test('a join that one server loses is handed in at another', async () => {
  const { join, residents, signed } = scene('11')
  residents.lie = ({ name, server }, answer) =>
    name === 'send_join' && server === first.name ? { status: 502, body: {} } : answer
  const joined = await remoteJoin(join)
  expect(joined.server).toBe(second.name)
  expect(signed).toHaveLength(1)
  expect(residents.asked('make_join')).toHaveLength(1)
})

test('a restricted join is handed in nowhere but at the server that authorises it', async () => {
  const { join, residents } = scene('10', { join_rule: 'restricted', allow: [] })
  residents.lie = ({ name }, answer) => (name === 'send_join' ? { status: 502, body: {} } : answer)
  await failureOf({ ...join, via: [first.name] })
  expect(residents.asked('send_join').map(({ server }) => server)).toEqual([first.name])
})

test('if the signed join cannot be made durable it is not handed in', async () => {
  const { join, residents } = scene('11')
  const onSigned = () => Promise.reject(new Error('the disk is full'))
  await expect(remoteJoin({ ...join, onSigned })).rejects.toThrow('the disk is full')
  expect(residents.asked('send_join')).toEqual([])
})

test('a join that was signed before a restart is handed in again as it was', async () => {
  const { join, signed, residents } = scene('12')
  const before = await remoteJoin(join)
  const after = await resumeJoin({ ...join, signed: signed[0]! })
  expect(after.json).toBe(before.json)
  expect(residents.asked('make_join')).toHaveLength(1)
  expect(signed).toHaveLength(1)
})

test('a user may want too much in a join', async () => {
  const { join } = scene('11')
  const failure = await failureOf({ ...join, content: { reason: 'x'.repeat(70_000) } })
  expect(failure).toMatchObject({ status: 413, errcode: 'M_TOO_LARGE' })
  expect(await failureOf({ ...join, content: { half: 0.5 } })).toMatchObject({ status: 400 })
})

test('the versions offered are those that we know', async () => {
  const { join, residents } = scene('11')
  await remoteJoin(join)
  expect(residents.asked('make_join')[0]!.query.getAll('ver')).toEqual([...roomVersions.keys()])
})

import { expect, test } from 'bun:test'
import { join } from 'node:path'
import { openTestDatabase } from '#test/database.ts'
import { Program, run } from '#test/program/program.ts'

const registration = `
id: bridge
url: null
as_token: as-secret
hs_token: hs-secret
sender_localpart: bridgebot
namespaces:
  users:
    - exclusive: true
      regex: '@_bridge_.*:localhost'
`

/** A program whose configuration names these registrations. */
async function prepare(database: string, ...texts: string[]): Promise<Program> {
  const program = await Program.prepare({ database })
  const files = await Promise.all(
    texts.map(async (text, index) => {
      const path = join(program.directory, `${index}.yaml`)
      await Bun.write(path, text)
      return path
    }),
  )
  await program.configure({
    database,
    sections: `[appservices]\nfiles = ${JSON.stringify(files)}\n`,
  })
  return program
}

test('a registered application service makes users, acts as them, and says when they did what', async () => {
  await using database = await openTestDatabase()
  await using program = await prepare(database.url, registration)
  await program.start()

  const ask = async (method: string, path: string, body?: object) => {
    const response = await program.fetch(`/_matrix/client/v3${path}`, {
      method,
      headers: { authorization: 'Bearer as-secret' },
      ...(body && { body: JSON.stringify(body) }),
    })
    const answer = (await response.json()) as Record<string, any>
    expect({ path, status: response.status, answer }).toMatchObject({ path, status: 200 })
    return answer
  }
  const register = (name: string) =>
    ask('POST', '/register', {
      type: 'm.login.application_service',
      username: name,
      inhibit_login: true,
    })
  expect(await ask('GET', '/account/whoami')).toEqual({
    user_id: '@bridgebot:localhost',
    is_guest: false,
  })
  await register('_bridge_bob')
  await register('_bridge_carol')
  const bob = 'user_id=@_bridge_bob:localhost'
  const carol = 'user_id=@_bridge_carol:localhost'

  const { room_id: roomId } = await ask('POST', `/createRoom?${bob}`, { preset: 'public_chat' })
  const room = `/rooms/${encodeURIComponent(roomId)}`
  const member = `${room}/state/m.room.member`
  const sent = [
    await ask('PUT', `${room}/send/m.room.message/1?ts=1000&${bob}`, { body: 'hello' }),
    await ask('PUT', `${room}/state/m.room.topic?ts=2000&${bob}`, { topic: 'tea' }),
    await ask('PUT', `${member}/@_bridge_carol:localhost?ts=3000&${bob}`, { membership: 'invite' }),
    await ask('PUT', `${member}/@_bridge_carol:localhost?ts=4000&${carol}`, { membership: 'join' }),
    await ask('PUT', `${member}/@_bridge_carol:localhost?ts=5000&${bob}`, { membership: 'leave' }),
  ]
  const events = await Promise.all(
    sent.map(({ event_id: id }) => ask('GET', `${room}/event/${encodeURIComponent(id)}?${bob}`)),
  )
  expect(events.map((event) => [event['sender'], event['origin_server_ts']])).toEqual([
    ['@_bridge_bob:localhost', 1000],
    ['@_bridge_bob:localhost', 2000],
    ['@_bridge_bob:localhost', 3000],
    ['@_bridge_carol:localhost', 4000],
    ['@_bridge_bob:localhost', 5000],
  ])

  const added = await run(['user', 'add', '_bridge_eve', '--config', program.config], {
    input: 'a long password\n',
  })
  expect([added.code, added.errors]).toEqual([
    1,
    'laneway: _bridge_eve: @_bridge_eve:localhost is reserved for an application service\n',
  ])
  expect(await program.complaints()).toEqual([])
})

test('registrations with faults are one message, before anything is started', async () => {
  const nowhere = 'postgres://nobody@127.0.0.1:1/nothing'
  await using program = await prepare(nowhere, registration, `${registration}\nrate_limited: 1`)
  const { code, errors } = await run(['--config', program.config], { cwd: program.directory })
  expect([code, errors]).toEqual([
    1,
    `laneway: The registrations of application services (appservices.files) have a fault:
  ${join(program.directory, '1.yaml')}: rate_limited: must be true or false
`,
  ])
})

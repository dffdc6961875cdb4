import { expect, test } from 'bun:test'
import { openTestDatabase } from '#test/database.ts'
import { Gateway } from '#test/engine/push/gateway.ts'
import { Program, until } from '#test/program/program.ts'

const gateway = Gateway.open()

test('what a gateway would not take is told after a kill: each in its order, at most one twice', async () => {
  await using database = await openTestDatabase()
  await using program = await Program.start({
    database: database.url,
    sections: '[push]\ninsecure_gateways = true\nallowed_ip_ranges = ["127.0.0.0/8"]\n',
  })
  const [alice, bob] = [await tokenOf(program, 'alice'), await tokenOf(program, 'bob')]
  const ask = async (token: string, method: string, path: string, body: object = {}) => {
    const answer = await program.fetch(`/_matrix/client/v3${path}`, {
      method,
      headers: { authorization: `Bearer ${token}` },
      body: JSON.stringify(body),
    })
    const json = (await answer.json()) as Record<string, string>
    expect({ status: answer.status, json }).toMatchObject({ status: 200 })
    return json
  }
  await ask(alice, 'POST', '/pushers/set', {
    kind: 'http',
    app_id: 'org.example.app',
    pushkey: 'phone',
    app_display_name: 'App',
    device_display_name: 'Phone',
    lang: 'en',
    data: { url: gateway.url, format: 'event_id_only' },
  })
  const { room_id: roomId } = await ask(bob, 'POST', '/createRoom', { preset: 'public_chat' })
  const room = encodeURIComponent(roomId!)
  await ask(alice, 'POST', `/join/${room}`)
  let count = 0
  const send = async () => {
    const path = `/rooms/${room}/send/m.room.message/txn${++count}`
    return (await ask(bob, 'PUT', path, { msgtype: 'm.text', body: `${count}` }))['event_id']!
  }
  const sent = [await send()]
  await until('the first push', () => gateway.of('phone').length > 0)
  // The gateway does not answer; the server is killed over it.
  const held = Promise.withResolvers<void>()
  gateway.answer = () => ({ hold: held.promise })
  for (let more = 0; more < 5; more++) sent.push(await send())
  await until('a push that is not answered', () => gateway.of('phone').length > 1)
  await program.end('SIGKILL')
  held.resolve()
  gateway.answer = () => ({})
  await program.start()
  await until('the last push', () => gateway.of('phone').at(-1)?.event_id === sent.at(-1))
  const told = gateway.of('phone').map((push) => push.event_id)
  expect([...new Set(told)]).toEqual(sent)
  expect(told.length).toBeLessThanOrEqual(sent.length + 1)
  expect(await program.end()).toBe(0)
  expect(await program.complaints()).toEqual([])
})

async function tokenOf(program: Program, name: string): Promise<string> {
  await program.person(name)
  const answer = await program.logIn(name, `the password of ${name}`)
  return ((await answer.json()) as { access_token: string }).access_token
}

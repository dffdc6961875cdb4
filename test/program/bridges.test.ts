import { expect, test } from 'bun:test'
import { join } from 'node:path'
import { BridgeListener } from '#test/bridge-listener.ts'
import { openTestDatabase } from '#test/database.ts'
import { Program } from '#test/program/program.ts'
import { until } from '#test/until.ts'

const registration = (id: string, url: string, more = '') => `
id: ${id}
url: ${url}
as_token: as-${id}
hs_token: hs-secret
sender_localpart: ${id}bot
namespaces:
  users:
    - exclusive: true
      regex: '@_${id}_.*:localhost'
${more}`

/** A program with these application services, and quick pauses. */
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
    keys: '',
    sections: `[appservices]
files = ${JSON.stringify(files)}
retry_min_seconds = 0.05
retry_max_seconds = 0.2
[rate_limits]
enabled = false
`,
  })
  return program
}

/** Asks as an application service. */
const asking =
  (program: Program, id: string) => async (method: string, path: string, body?: object) => {
    const response = await program.fetch(`/_matrix/client/${path}`, {
      method,
      headers: { authorization: `Bearer as-${id}` },
      ...(body && { body: JSON.stringify(body) }),
    })
    const answer = (await response.json()) as Record<string, any>
    expect({ path, status: response.status, answer }).toMatchObject({ path, status: 200 })
    return answer
  }

test('what interests an application service comes in order, once, over kill -9 in the middle of a transaction', async () => {
  await using database = await openTestDatabase()
  await using bridge = new BridgeListener()
  await using program = await prepare(database.url, registration('irc', bridge.url))
  await program.start()
  const irc = asking(program, 'irc')
  const { room_id: roomId } = await irc('POST', 'v3/createRoom', { preset: 'public_chat' })
  const room = encodeURIComponent(roomId as string)
  const send = (text: string) =>
    irc('PUT', `v3/rooms/${room}/send/m.room.message/${text}`, { msgtype: 'm.text', body: text })
  await send('first')
  await until(() => bridge.texts.includes('first'))

  // It takes the next one, and the server dies before it hears of it.
  const dying = Promise.withResolvers<Response>()
  bridge.take = () => dying.promise
  await send('second')
  await until(() => bridge.transactions.some(({ text }) => text.includes('second')))
  const held = bridge.transactions.at(-1)!
  await send('third')
  await program.end('SIGKILL')
  dying.resolve(Response.json({}))
  bridge.take = () => Response.json({})
  await program.start()
  await until(() => bridge.texts.includes('third'))
  const again = bridge.transactions.filter(({ txnId }) => txnId === held.txnId)
  expect(again.length).toBeGreaterThan(1)
  expect(new Set(again.map(({ text }) => text))).toEqual(new Set([held.text]))
  expect(bridge.texts).toEqual(['first', 'second', 'third'])
  expect(bridge.events.slice(0, 2).map(({ type }) => type)).toEqual([
    'm.room.create',
    'm.room.member',
  ])
  expect(await program.end()).toBe(0)
})

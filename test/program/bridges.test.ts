import { expect, test } from 'bun:test'
import { join } from 'node:path'
import { BridgeListener } from '#test/bridge-listener.ts'
import { openTestDatabase } from '#test/database.ts'
import { freePorts } from '#test/ports.ts'
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

/** A bridge behind NAT: it connects for what it is sent, and answers as `take` says. */
class Connecting {
  readonly transactions: { txnId: string; text: string; events: Record<string, any>[] }[] = []
  take: (txnId: string) => boolean = () => true
  readonly closed = Promise.withResolvers<{ code: number; reason: string }>()
  readonly welcome = Promise.withResolvers<void>()
  readonly #socket: WebSocket

  constructor(url: string, token: string) {
    const address = `${url.replace('http', 'ws')}/_matrix/client/unstable/fi.mau.as_sync`
    this.#socket = new WebSocket(address, { headers: { authorization: `Bearer ${token}` } })
    this.#socket.addEventListener('message', ({ data }) => this.#hear(data as string))
    this.#socket.addEventListener('close', ({ code, reason }) =>
      this.closed.resolve({ code, reason }),
    )
  }

  get texts(): string[] {
    return this.transactions.flatMap(({ events }) =>
      events.flatMap(({ type, content }) => (type === 'm.room.message' ? content.body : [])),
    )
  }

  close(): void {
    this.#socket.close()
  }

  #hear(text: string): void {
    const { id, command, txn_id: txnId, events, data } = JSON.parse(text) as Record<string, any>
    if (command === 'connect') this.welcome.resolve()
    if (command === 'http_proxy') {
      const body = { asked: data.path }
      this.#socket.send(JSON.stringify({ id, command: 'response', data: { status: 200, body } }))
    }
    if (command !== 'transaction') return
    const own = text.slice(text.indexOf('"txn_id"'))
    this.transactions.push({ txnId, text: own, events })
    if (this.take(txnId as string))
      this.#socket.send(JSON.stringify({ id, command: 'response', data: { txn_id: txnId } }))
  }
}

test('a bridge that connects is sent the same, and what it has not acknowledged again', async () => {
  await using database = await openTestDatabase()
  await using listener = new BridgeListener()
  await using program = await prepare(
    database.url,
    registration('nat', 'websocket'),
    registration('quiet', 'null'),
    registration('irc', listener.url),
  )
  await program.start()
  const nat = asking(program, 'nat')
  const say = async (room: string, text: string) =>
    nat('PUT', `v3/rooms/${room}/send/m.room.message/${text}`, { msgtype: 'm.text', body: text })
  const makeRoom = async () =>
    encodeURIComponent((await nat('POST', 'v3/createRoom', {}))['room_id'] as string)

  // It waits for it to come.
  const room = await makeRoom()
  await say(room, 'before')
  let bridge = new Connecting(program.url, 'as-nat')
  await bridge.welcome.promise
  await until(() => bridge.texts.includes('before'))
  expect(await nat('POST', 'v1/appservice/nat/ping', {})).toEqual({
    duration_ms: expect.any(Number),
  })

  // A second one takes its place.
  const first = bridge
  bridge = new Connecting(program.url, 'as-nat')
  await bridge.welcome.promise
  expect(await first.closed.promise).toEqual({
    code: 4001,
    reason: JSON.stringify({ command: 'disconnect', status: 'conn_replaced' }),
  })

  // What it has got and not acknowledged comes again, as it was: over kill -9, too.
  bridge.take = () => false
  await say(room, 'kept')
  await until(() => bridge.texts.includes('kept'))
  const held = bridge.transactions.at(-1)!
  await program.end('SIGKILL')
  await program.start()
  bridge = new Connecting(program.url, 'as-nat')
  await until(() => bridge.texts.includes('kept'))
  expect(bridge.transactions[0]).toEqual(held)

  // One without an address is sent what comes after it has connected.
  const quiet = asking(program, 'quiet')
  const own = encodeURIComponent((await quiet('POST', 'v3/createRoom', {}))['room_id'] as string)
  const tell = (text: string) =>
    quiet('PUT', `v3/rooms/${own}/send/m.room.message/${text}`, { msgtype: 'm.text', body: text })
  await tell('unheard')
  await until(async () => {
    const behind = await database.pool`
      select from room_shards r join appservice_cursors c using (shard) where c.rooms < r.position`
    return behind.length === 0
  })
  const late = new Connecting(program.url, 'as-quiet')
  await late.welcome.promise
  await until(async () => {
    const [row] = await database.pool<{ follows: boolean }[]>`
      select follows from appservices where id = 'quiet'`
    return row!.follows
  })
  let count = 0
  await until(async () => {
    await tell(`heard-${++count}`)
    return late.texts.length > 0
  })
  expect(late.texts).not.toContain('unheard')

  // Others are refused, with the reason.
  const refused = async (token?: string) => {
    const response = await program.fetch('/_matrix/client/unstable/fi.mau.as_sync', {
      headers: token === undefined ? {} : { authorization: `Bearer ${token}` },
    })
    return [response.status, ((await response.json()) as { errcode: string }).errcode]
  }
  expect(await refused()).toEqual([401, 'M_MISSING_TOKEN'])
  expect(await refused('nobody')).toEqual([401, 'M_UNKNOWN_TOKEN'])
  expect(await refused('as-irc')).toEqual([403, 'M_FORBIDDEN'])
  expect(await refused('as-nat')).toEqual([426, 'M_UNRECOGNIZED'])

  expect(await program.end()).toBe(0)
  expect((await bridge.closed.promise).code).toBe(1012)
})

test('an application service that hangs, fails or is away delays neither a room nor another one', async () => {
  await using database = await openTestDatabase()
  await using hanging = new BridgeListener()
  await using failing = new BridgeListener()
  await using well = new BridgeListener()
  const [closed] = await freePorts(1)
  const all = `
  rooms:
    - exclusive: false
      regex: '!.*'`
  await using program = await prepare(
    database.url,
    registration('hanging', hanging.url, all),
    registration('failing', failing.url, all),
    registration('away', `http://127.0.0.1:${closed}`, all),
    registration('well', well.url, all),
  )
  const patience = Promise.withResolvers<void>()
  hanging.take = () => patience.promise.then(() => Response.json({}))
  failing.take = () => new Response('', { status: 500 })
  await program.start()
  const ask = asking(program, 'well')
  const room = encodeURIComponent((await ask('POST', 'v3/createRoom', {}))['room_id'] as string)
  const texts = Array.from({ length: 200 }, (_, index) => `${index}`)
  for (const text of texts)
    await ask('PUT', `v3/rooms/${room}/send/m.room.message/${text}`, {
      msgtype: 'm.text',
      body: text,
    })
  await until(() => well.texts.length >= texts.length)
  expect(well.texts).toEqual(texts)
  // Each was sent the first of it, and no more.
  expect(new Set(hanging.transactions.map(({ txnId }) => txnId)).size).toBe(1)
  await until(() => failing.transactions.length > 1)
  expect(new Set(failing.transactions.map(({ text }) => text)).size).toBe(1)
  // When they are well, they get the rest, in order.
  failing.take = () => Response.json({})
  patience.resolve()
  await until(() => failing.texts.length >= texts.length && hanging.texts.length >= texts.length)
  expect([failing.texts, hanging.texts]).toEqual([texts, texts])
})

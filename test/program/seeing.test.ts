import { expect, test } from 'bun:test'
import { join } from 'node:path'
import { families } from '#src/metrics/families.ts'
import { shardOf } from '#core/shard.ts'
import { silentLog } from '#src/log.ts'
import { withDatabase } from '#store/db.ts'
import { startEmbedded } from '#store/embedded/start.ts'
import { openTestDatabase } from '#test/database.ts'
import { newFolder } from '#test/folder.ts'
import { freePorts } from '#test/ports.ts'
import { PostgresGate } from '#test/postgres-gate.ts'
import { Program, run, until } from '#test/program/program.ts'

const root = new URL('../..', import.meta.url).pathname
const preload = new URL('./end-workers.ts', import.meta.url).pathname
const listeners = '[[listeners]]\nport = 0\n[[listeners]]\nport = 0\nserves = ["metrics"]\n'

type Health = { status: string; unready?: string[] }

async function health(program: Program): Promise<[status: number, unready: string[]]> {
  const response = await program.fetch('/health')
  const { unready = [] } = (await response.json()) as Health
  return [response.status, unready]
}

/** A busy machine is late at times, and not ready then; but not for ever. */
async function isReady(program: Program): Promise<boolean> {
  const [status, unready] = await health(program)
  expect(unready.filter((what) => what === 'starting')).toEqual([])
  return status === 200
}

/** The names, and all lines, of what a server measures. */
async function scrape(program: Program) {
  const response = await program.fetch('/_laneway/metrics', { url: program.urls[1]! })
  expect(response.status).toBe(200)
  const text = await response.text()
  const described = [...text.matchAll(/^# HELP (\S+)/gm)].map(([, name]) => name!)
  const lines = text.split('\n').filter((line) => line !== '' && !line.startsWith('#'))
  return { described, lines, names: new Set(lines.map((line) => line.split(/[{ ]/)[0]!)) }
}

/** The same, when all threads have answered: a busy one may be left out. */
const scrapeAll = (program: Program) =>
  until('an answer of all', async () => {
    const found = await scrape(program)
    const up = found.lines.filter((line) => /^laneway_thread_up.* 1$/.test(line))
    return up.length === 3 && found.names.has('laneway_inbox_events') && found
  })

const expressions = (value: unknown): string[] => {
  if (typeof value !== 'object' || value === null) return []
  return Object.entries(value).flatMap(([key, each]) =>
    (key === 'expr' || key === 'definition') && typeof each === 'string'
      ? [each]
      : expressions(each),
  )
}

test('a server shows what it measures, and the board asks for nothing else', async () => {
  await using database = await openTestDatabase()
  const bridge = join(await newFolder('seeing'), 'bridge.yaml')
  await Bun.write(
    bridge,
    'id: bridge\nurl: websocket\nas_token: as\nhs_token: hs\nsender_localpart: bot\nnamespaces: {}\n',
  )
  await using program = await Program.start({
    database: database.url,
    sections: `${listeners}[appservices]\nfiles = ["${bridge}"]\n`,
  })
  const alice = await program.person('alice')
  const room = await alice.makeRoom()
  for (const text of ['1', '2']) expect((await alice.send(room, text)).status).toBe(200)

  const { described, lines, names } = await scrapeAll(program)
  // All that is measured is described, and the other way round.
  expect(described.toSorted()).toEqual(
    Object.keys(families)
      .map((name) => `laneway_${name}`)
      .toSorted(),
  )
  const send = 'method="PUT",route="/_matrix/client/v3/rooms/:roomId/send/:eventType/:txnId"'
  expect(lines).toContain(`laneway_http_requests_total{${send},status="200"} 2`)
  expect(lines).toContain(`laneway_http_request_seconds_bucket{${send},le="+Inf"} 2`)
  for (const thread of ['main', 'room worker 0', 'federation'])
    expect(lines).toContain(`laneway_thread_up{thread="${thread}"} 1`)
  expect(lines.filter((line) => line.startsWith('laneway_inbox_events'))).toHaveLength(64)
  expect(lines).toContain('laneway_appservice_events_waiting{thread="main",appservice="bridge"} 0')
  // No user, no room and no server has lines of its own.
  expect(lines.filter((line) => /localhost|alice|![A-Za-z]/.test(line))).toEqual([])

  const board = JSON.parse(await Bun.file(join(root, 'docs/grafana/laneway.json')).text()) as {
    panels: { type: string; datasource?: { uid: string } }[]
    templating: { list: { name: string; type: string }[] }
  }
  expect(board.templating.list).toContainEqual(
    expect.objectContaining({ name: 'datasource', type: 'datasource' }),
  )
  const panels = board.panels.filter(({ type }) => type !== 'row')
  // oxlint-disable-next-line no-template-curly-in-string -- Grafana's own way to name a variable.
  expect(new Set(panels.map(({ datasource }) => datasource?.uid))).toEqual(
    new Set(['${datasource}']),
  )
  const asked = expressions(board).flatMap((expr) => expr.match(/\blaneway_\w+/g) ?? [])
  expect(asked.length).toBeGreaterThan(panels.length)
  expect([...new Set(asked)].filter((name) => !names.has(name))).toEqual([])
})

test('an administrator is told of the longest lanes, and nobody else is', async () => {
  await using database = await openTestDatabase()
  await using program = await Program.start({ database: database.url, sections: listeners })
  const alice = await program.person('alice')
  const roomId = decodeURIComponent(await alice.makeRoom())
  const password = 'the password of root'
  const made = await run(['user', 'add', 'root', '--admin', '--config', program.config], {
    input: password,
  })
  expect(made.errors).toBe('')
  const login = (await (await program.logIn('root', password)).json()) as { access_token: string }
  const ask = async (token: string) => {
    const headers = { authorization: `Bearer ${token}` }
    const response = await program.fetch('/_laneway/admin/v1/lanes', { headers })
    return [response.status, await response.json()] as const
  }
  expect(await ask(login.access_token)).toEqual([200, { lanes: [] }])
  const other = (await (await program.logIn('alice', 'the password of alice')).json()) as {
    access_token: string
  }
  expect((await ask(other.access_token))[0]).toBe(403)
  expect((await program.fetch('/_laneway/admin/v1/lanes')).status).toBe(401)

  // As if a server had sent them and no worker had heard of it: they wait in the database.
  await database.pool`
    insert into inbox (shard, room_id, origin, json, received_at, not_before)
    select ${shardOf(roomId)}, ${roomId}, 'there.test', '{}', ${Date.now() - 60_000}, ${Date.now() + 3_600_000}
    from generate_series(1, 3)`
  const [, answer] = await ask(login.access_token)
  expect(answer).toMatchObject({ lanes: [{ room_id: roomId, inbox: 3, local: 0, parked: 0 }] })
  expect((answer as { lanes: { oldest_ms: number }[] }).lanes[0]!.oldest_ms).toBeGreaterThanOrEqual(
    60_000,
  )
})

test('a server that starts is alive and not ready, and answers nothing else', async () => {
  await using database = await openTestDatabase()
  using gate = await PostgresGate.open(database.url, {
    code: '57P03',
    message: 'the database system is starting up',
  })
  const [port] = await freePorts(1)
  const url = `http://127.0.0.1:${port}`
  await using program = await Program.prepare({
    database: gate.url,
    sections: `[[listeners]]\nport = ${port}\n`,
  })
  const starting = program.start()
  const ask = (path: string, method = 'GET') => fetch(url + path, { method }).catch(() => undefined)
  await until('an answer', async () => {
    const response = await ask('/health')
    return response && [response.status, await response.json()]
  }).then((answer) => expect(answer).toEqual([503, { status: 'unready', unready: ['starting'] }]))
  expect((await ask('/health', 'HEAD'))!.status).toBe(503)
  const other = (await ask('/_matrix/client/versions'))!
  expect([other.status, other.headers.get('retry-after')]).toEqual([503, '1'])
  gate.refusal = undefined
  await starting
  await until('readiness', () => isReady(program))
})

test('without its database a server is alive and not ready, and is measured all the same', async () => {
  const dataDir = await newFolder('seeing')
  const start = () => startEmbedded({ dataDir, log: silentLog, durable: false })
  let postgres = await start()
  await using program = await Program.start({
    database: withDatabase(postgres.url, 'laneway'),
    sections: `wait_seconds = 0.3\n${listeners}`,
  })
  await until('readiness', () => isReady(program))
  await postgres.stop()
  await until('the news', async () => (await health(program))[1].includes('database'))
  expect((await program.fetch('/health', { method: 'HEAD' })).status).toBe(503)
  await until('its absence', async () => {
    const { lines } = await scrape(program)
    return lines.includes('laneway_database_away{thread="main"} 1')
  })
  postgres = await start()
  await until('its return', () => isReady(program))
  expect(await program.end()).toBe(0)
  await postgres.stop()
})

test('a thread that ends holds up no scrape, and is missed', async () => {
  await using database = await openTestDatabase()
  await using program = await Program.start({
    database: database.url,
    sections: listeners,
    preload,
  })
  const seen = new Set<string>()
  let ended = false
  await until('every thread is missed once', async () => {
    if (!ended) {
      process.kill(program.pid, 'SIGUSR1')
      process.kill(program.pid, 'SIGUSR2')
    }
    const { lines } = await scrape(program)
    for (const line of lines) if (/^laneway_thread_up.* 0$/.test(line)) seen.add(line)
    for (const name of (await health(program))[1]) if (name.includes('worker')) seen.add(name)
    ended = seen.size >= 4
    return ended
  })
  expect([...seen].toSorted()).toEqual([
    'federation worker',
    'laneway_thread_up{thread="federation"} 0',
    'laneway_thread_up{thread="room worker 0"} 0',
    'room workers',
  ])
  await until('their return', () => isReady(program))
})

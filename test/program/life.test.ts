import { afterAll, beforeAll, expect, test } from 'bun:test'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { freePorts } from '#test/laneway.ts'

const root = join(import.meta.dir, '../..')
let directory: string
let config: string
let url: string
let federationUrl: string

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'laneway-life-'))
  config = join(directory, 'laneway.toml')
  const [client, federation] = await freePorts(2)
  url = `http://127.0.0.1:${client}`
  federationUrl = `http://127.0.0.1:${federation}`
  await Bun.write(
    config,
    `data_dir = "${directory}/data"
[[listeners]]
port = ${client}
serves = ["client", "admin"]
[[listeners]]
port = ${federation}
serves = ["federation"]
[passwords]
memory_kib = 64
iterations = 1
[log]
format = "json"
`,
  )
})

const children: Bun.Subprocess[] = []

afterAll(async () => {
  for (const child of children) child.kill('SIGKILL')
  await Promise.all(children.map((child) => child.exited))
  await rm(directory, { recursive: true, force: true })
})

const spawn = (args: string[], input = '') =>
  Bun.spawn([process.execPath, 'src/main.ts', ...args, '--config', config], {
    cwd: root,
    env: { PATH: process.env['PATH'] ?? '', HOME: directory },
    stdin: new Blob([input]),
    stdout: 'pipe',
    stderr: 'pipe',
  })

async function started() {
  const child = spawn([])
  children.push(child)
  for (let tries = 0; tries < 600; tries++) {
    if (child.exitCode !== null) throw new Error(await new Response(child.stderr).text())
    const answer = await fetch(`${url}/_matrix/client/versions`).catch(() => undefined)
    if (answer?.ok) return child
    await Bun.sleep(50)
  }
  throw new Error('the server did not answer')
}

async function userAdd(name: string, ...more: string[]) {
  const child = spawn(['user', 'add', name, ...more], 'a long password\n')
  const [out, errors] = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
  ])
  return { code: await child.exited, out, errors }
}

async function logIn(name: string) {
  const answer = await fetch(`${url}/_matrix/client/v3/login`, {
    method: 'POST',
    body: JSON.stringify({
      type: 'm.login.password',
      identifier: { type: 'm.id.user', user: name },
      password: 'a long password',
    }),
  })
  return { status: answer.status, body: (await answer.json()) as { access_token: string } }
}

test('a server starts, tells a newcomer what to do, takes accounts, and ends within five seconds', async () => {
  const server = await started()
  const output = new Response(server.stdout).text()

  // Beside a running server, and once more under the same name.
  expect(await userAdd('alice', '--admin')).toMatchObject({
    code: 0,
    out: 'Made the administrator @alice:localhost\n',
  })
  const again = await userAdd('alice')
  expect(again.code).toBe(1)
  expect(again.errors).toBe('laneway: alice: The user ID is taken\n')
  const { status, body } = await logIn('alice')
  expect(status).toBe(200)

  // Each listener serves what it is told to.
  const key = '/_matrix/key/v2/server'
  expect((await fetch(url + key)).status).toBe(404)
  expect((await fetch(federationUrl + key)).status).toBe(200)
  expect((await fetch(`${federationUrl}/_matrix/client/versions`)).status).toBe(404)

  // Somebody waits for news while it ends.
  const headers = { authorization: `Bearer ${body.access_token}` }
  const first = await fetch(`${url}/_matrix/client/v3/sync`, { headers })
  const { next_batch: since } = (await first.json()) as { next_batch: string }
  const waiting = fetch(`${url}/_matrix/client/v3/sync?since=${since}&timeout=60000`, {
    headers,
  }).catch(() => undefined)
  await Bun.sleep(200)
  server.kill('SIGTERM')
  // It ends itself with code 1 when five seconds are over.
  expect(await server.exited).toBe(0)
  await waiting

  const records = (await output)
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as { msg: string })
  const said = records.map(({ msg }) => msg).join('\n')
  expect(said).toContain(`listening on ${url}`)
  expect(said).toContain('bun run server user add NAME --admin')
  expect(await Bun.file(join(directory, 'data/postgres/postmaster.pid')).exists()).toBe(false)
}, 60_000)

test('accounts can be made while the server is down, and it starts again after a kill', async () => {
  expect(await userAdd('bob')).toMatchObject({ code: 0, out: 'Made the account @bob:localhost\n' })
  const first = await started()
  expect((await logIn('bob')).status).toBe(200)
  first.kill('SIGKILL')
  await first.exited
  const second = await started()
  expect((await logIn('alice')).status).toBe(200)
  second.kill('SIGTERM')
  expect(await second.exited).toBe(0)
}, 60_000)

import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { existsSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import { freePorts } from '#test/laneway.ts'
import { type Figure, openBench } from './figures.ts'

const help = `
From a clean clone to the first message: the README's first command as it stands, an account made with
user add, a login, a room, a message. Only Node and npm are on the path. Caches of packages are those of
this machine, or with --cold empty.

  bun run bench quick-start [--cold]
`

const bench = openBench('quick-start', help, { cold: false })

const root = join(import.meta.dir, '..')
const folder = await mkdtemp(join(tmpdir(), 'laneway-quick-start-'))
const clone = join(folder, 'clone')
const [port] = await freePorts(1)
const url = `http://127.0.0.1:${port}`
const began = performance.now()
let last = began
let server: Bun.Subprocess | undefined
const steps: Figure[] = []

try {
  await finish('clone', spawn(['git', 'clone', '--quiet', root, clone], folder))
  const command = /^```sh\n(.+)\n```$/m.exec(await readFile(join(clone, 'README.md'), 'utf8'))?.[1]
  if (!command) throw new Error('The README has no command')
  // A group of its own: what npx starts does not hear of its end.
  server = spawn(['sh', '-c', command], clone, {
    detached: true,
    stdout: 'pipe',
    stderr: 'inherit',
  })
  await said(server.stdout as ReadableStream<Uint8Array>, 'packages installed')
  note('install')
  await until(
    async () => (await fetch(`${url}/_matrix/client/versions`).catch(() => undefined))?.ok,
  )
  note('the server answers')

  const add = 'npx bun run server user add alice --admin'
  await finish(
    'user add',
    spawn(['sh', '-c', add], clone, { stdin: new Blob(['a long password']) }),
  )
  const identifier = { type: 'm.id.user', user: 'alice' }
  const { access_token: token } = await ask<{ access_token: string }>('POST', 'login', {
    type: 'm.login.password',
    identifier,
    password: 'a long password',
  })
  note('login')
  const { room_id: room } = await ask<{ room_id: string }>('POST', 'createRoom', {}, token)
  const path = `rooms/${encodeURIComponent(room)}/send/m.room.message/1`
  await ask('PUT', path, { msgtype: 'm.text', body: 'Hello' }, token)
  note('room and message')
  bench.tell('from a clean clone', [
    ...steps,
    { name: 'the first message, in all', value: (performance.now() - began) / 1000, unit: 's' },
  ])
} finally {
  if (server && server.exitCode === null) {
    process.kill(-server.pid, 'SIGTERM')
    await server.exited
  }
  await rm(folder, { recursive: true, force: true, maxRetries: 5 })
}
bench.finish()

function environment(): Record<string, string> {
  const path = process.env['PATH']!.split(delimiter).filter(
    (each) => !existsSync(join(each, 'bun')),
  )
  const caches = {
    npm_config_cache: join(folder, 'npm'),
    BUN_INSTALL_CACHE_DIR: join(folder, 'bun'),
  }
  const kept = Object.entries(process.env).filter(
    ([name]) => !/^(LANEWAY_|DATABASE_URL$|npm_|BUN_)/i.test(name),
  ) as [string, string][]
  return {
    ...Object.fromEntries(kept),
    PATH: path.join(delimiter),
    LANEWAY_LISTENERS: `[{ port = ${port} }]`,
    ...(bench.options.cold ? caches : {}),
  }
}

function spawn(cmd: string[], cwd: string, more: Parameters<typeof Bun.spawn>[1] = {}) {
  return Bun.spawn(cmd, { stdout: 'ignore', stderr: 'inherit', ...more, cwd, env: environment() })
}

async function finish(step: string, child: Bun.Subprocess): Promise<void> {
  const code = await child.exited
  if (code !== 0) throw new Error(`${step}: ended with ${code}`)
  note(step)
}

/** Waits until a process has printed a text, and reads on. */
async function said(stream: ReadableStream<Uint8Array>, text: string): Promise<void> {
  let all = ''
  const seen = Promise.withResolvers<void>()
  void (async () => {
    const decoder = new TextDecoder()
    for await (const bytes of stream) {
      if (all.includes(text)) continue
      all += decoder.decode(bytes, { stream: true })
      if (all.includes(text)) seen.resolve()
    }
    seen.reject(new Error(`It ended after: ${all}`))
  })()
  await seen.promise
}

async function until(condition: () => Promise<boolean | undefined>): Promise<void> {
  const deadline = Date.now() + 60_000
  while (!(await condition())) {
    if (Date.now() > deadline) throw new Error('The server did not answer')
    await Bun.sleep(20)
  }
}

async function ask<T>(method: string, path: string, body: object, token?: string): Promise<T> {
  const response = await fetch(`${url}/_matrix/client/v3/${path}`, {
    method,
    body: JSON.stringify(body),
    ...(token && { headers: { authorization: `Bearer ${token}` } }),
  })
  if (!response.ok) throw new Error(`${response.status} from ${path}: ${await response.text()}`)
  return (await response.json()) as T
}

function note(step: string): void {
  const now = performance.now()
  steps.push({ name: step, value: (now - last) / 1000, unit: 's' })
  last = now
}

import { expect, test } from 'bun:test'
import { join } from 'node:path'
import { ownEnvironment } from '#test/laneway.ts'
import { patienceMs, until } from '#test/until.ts'
import { FakeServer } from '#test/importers/fake-server.ts'
import { exportFolder } from '#test/importers/items.ts'

const root = new URL('../..', import.meta.url).pathname

async function program(args: string[], env: { [name: string]: string } = {}) {
  const child = Bun.spawn([process.execPath, join(root, 'importers/main.ts'), ...args], {
    cwd: root,
    env: { ...ownEnvironment(), ...env },
    stdout: 'pipe',
    stderr: 'pipe',
    timeout: patienceMs,
  })
  const [out, errors] = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
  ])
  return { code: await child.exited, out, errors }
}

test('--help has every command, examples and exit codes', async () => {
  const { code, out } = await program(['--help'])
  expect(code).toBe(0)
  for (const command of ['inspect', 'plan', 'run', 'status', 'verify', 'undo', 'report'])
    expect(out).toContain(`\n  ${command} `)
  expect(out).toContain('bun run import run plan.toml --dry-run')
  expect(out).toContain('3 finished')
})

test.each(['inspect', 'plan', 'run', 'status', 'verify', 'undo', 'report'])(
  '--help of a command has its options and examples',
  async (command) => {
    const { code, out } = await program([command, '--help'])
    expect(code).toBe(0)
    expect(out).toContain(`Usage: bun run import ${command}`)
    const [, examples = ''] = out.split('Examples:')
    expect(examples).toMatch(new RegExp(`bun run import (--json )?${command}`))
    // Whatever an example says is an option.
    for (const [option] of examples.matchAll(/(?<=\s)--[a-z-]+/g))
      if (option !== '--json') expect(out.split('Examples:')[0]).toContain(option)
  },
)

test('inspect says what an export is and why, what is in it, and ends with 3 for what it cannot read', async () => {
  const fixture = join(import.meta.dir, 'fixtures/gitter/rest')
  const { code, out } = await program(['inspect', fixture])
  expect(code).toBe(3)
  expect(out).toContain('Gitter archive, because')
  expect(out).toContain('gitterHQ/gitter (public): 8 messages of 5 people, 2020-10-16')
  expect(out).toContain('gitterHQ/gitter.json:10: The message has no ID')
  const json = await program(['--json', 'inspect', fixture])
  const events = json.out
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as { event: string })
  expect(events.at(-1)).toMatchObject({ event: 'inspected', format: 'gitter', people: 5 })
})

test('what an export has for names gives the terminal no orders', async () => {
  const items = [
    { kind: 'room', id: 'r', name: 'a\u001b[2Jb' },
    { kind: 'message', room: 'r', id: '1', sender: 'u', time: Date.UTC(2020, 0, 1), body: 'hello' },
  ]
  const lines = items.map((item) => JSON.stringify(item)).join('\n')
  await using folder = await exportFolder({ 'a.ndjson': lines })
  const { out, errors } = await program(['inspect', join(folder.path, 'a.ndjson')])
  expect(out).toContain('a\ufffd[2Jb')
  expect(out + errors).not.toContain('\u001b')
})

test('what is no export, no plan, no number and no token ends with 1 and one sentence', async () => {
  await using folder = await exportFolder({ 'a.txt': 'no chat' })
  const cases: [string[], string][] = [
    [['inspect', folder.path], 'in no format that is known'],
    [['inspect', join(folder.path, 'gone')], 'There is no file or folder'],
    [['run', join(folder.path, 'plan.toml')], 'There is no plan'],
    [['run', '--jobs', 'many'], 'It is to be a number'],
    [['run', '--bogus'], '`--help` has examples'],
    [['inspect', folder.path, '--format', 'bogus'], 'There is no format bogus; there are'],
    [['report', '--plan', join(folder.path, 'plan.toml')], 'plan EXPORT` writes one'],
    [['plan', folder.path, '--server', 'http://127.0.0.1:9'], 'An access token'],
  ]
  const server = ['plan', folder.path, '--server', 'home.test']
  cases.push([[...server, '--token-file', join(folder.path, 'a.txt')], 'is no address of a server'])
  const ended = await Promise.all(cases.map(([args]) => program(args)))
  expect(ended.map(({ code }) => code)).toEqual(cases.map(() => 1))
  for (const [index, [, sentence]] of cases.entries())
    expect(ended[index]!.errors).toContain(sentence)
})

const html = `<p>${'x'.repeat(40_000)}</p>`
const manyBatches = Array.from({ length: 200 }, (_, id) =>
  JSON.stringify({
    kind: 'message',
    room: 'r',
    id: `${id}`,
    sender: 'u',
    time: Date.UTC(2020, 0, 1) + id,
    body: `text ${id}`,
    html,
  }),
).join('\n')

/** The program while it runs, and what it says. */
function running(args: string[], env: { [name: string]: string }) {
  const child = Bun.spawn([process.execPath, join(root, 'importers/main.ts'), ...args], {
    cwd: root,
    env: { ...ownEnvironment(), ...env },
    stderr: 'pipe',
    timeout: patienceMs,
  })
  const it = { child, told: '', heard: Promise.resolve() }
  it.heard = (async () => {
    for await (const piece of child.stderr) it.told += new TextDecoder().decode(piece)
  })()
  return it
}

/** An interrupt while the first batch is on its way, and a plan to go on with. */
async function interrupted(
  args: string[],
  then: (it: ReturnType<typeof running>) => Promise<void>,
) {
  const folder = await exportFolder({ 'chat.ndjson': manyBatches })
  const server = new FakeServer()
  const env = { LANEWAY_TOKEN: 'secret' }
  const plan = join(folder.path, 'plan.toml')
  const planned = await program(['plan', folder.path, '--server', server.url, '--out', plan], env)
  expect(planned.code).toBe(0)
  const it = running(['run', plan, ...args], env)
  let asked = false
  server.onRequest = async (method) => {
    if (method !== 'PUT' || asked) return undefined
    asked = true
    it.child.kill('SIGINT')
    await until(() => it.told.includes('Finishing the batch'))
    await then(it)
    return undefined
  }
  const code = await it.child.exited
  await it.heard
  server.onRequest = undefined
  return {
    code,
    told: it.told,
    server,
    again: () => program(['run', plan], env),
    async [Symbol.asyncDispose]() {
      await server[Symbol.asyncDispose]()
      await folder[Symbol.asyncDispose]()
    },
  }
}

const allTexts = Array.from({ length: 200 }, (_, id) => `text ${id}`)

test('an interrupt ends after the batch that is under way, and the same command goes on', async () => {
  await using it = await interrupted([], () => Promise.resolve())
  expect(it.code).toBe(1)
  expect(it.told).toContain('the same command goes on')
  expect([...it.server.sessions.values()]).toMatchObject([{ state: 'open', next_batch: 1 }])
  expect((await it.again()).code).toBe(0)
  const [roomId] = it.server.rooms.keys()
  expect(it.server.texts(roomId!)).toEqual(allTexts)
})

test('a second interrupt stops at once, though the server does not answer, and nothing is lost', async () => {
  await using it = await interrupted([], async ({ child }) => {
    child.kill('SIGINT')
    // The answer would come only now.
    await child.exited
  })
  expect(it.code).toBe(1)
  expect(it.told).toContain('Stopped; the same command goes on')
  expect((await it.again()).code).toBe(0)
  const [roomId] = it.server.rooms.keys()
  expect(it.server.texts(roomId!)).toEqual(allTexts)
})

test('an interrupt does not wait for what --rate keeps back', async () => {
  // At one a second the second batch would go in a minute.
  await using it = await interrupted(['--rate', '1'], () => Promise.resolve())
  expect(it.code).toBe(1)
  expect([...it.server.sessions.values()]).toMatchObject([{ state: 'open', next_batch: 1 }])
})

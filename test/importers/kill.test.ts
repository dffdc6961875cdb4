import { expect, test } from 'bun:test'
import { join } from 'node:path'
import type { Console } from '#importers/commands/console.ts'
import { plan } from '#importers/commands/plan.ts'
import { run } from '#importers/commands/run.ts'
import { ownEnvironment } from '#test/laneway.ts'
import { patienceMs } from '#test/until.ts'
import { FakeServer } from '#test/importers/fake-server.ts'
import { exportFolder } from '#test/importers/items.ts'

const root = new URL('../..', import.meta.url).pathname
const count = 260
const start = Date.UTC(2020, 0, 1)
// Much text, so that there are a few batches.
const html = `<p>${'x'.repeat(40_000)}</p>`
const chat = Array.from({ length: count }, (_, id) =>
  JSON.stringify({
    kind: 'message',
    room: 'general',
    id: `m${id}`,
    sender: 'u1',
    time: start + id * 1000,
    body: `text ${id}`,
    html,
    ...(id % 7 === 3 && { replyTo: `m${id - 3}` }),
  }),
).join('\n')

const console: Console = {
  write: () => undefined,
  warn: () => undefined,
  isTerminal: false,
  json: true,
  finish: new AbortController().signal,
  stop: new AbortController().signal,
}

/** The program as people run it. */
const spawn = (args: string[]) =>
  Bun.spawn([process.execPath, join(root, 'importers/main.ts'), ...args], {
    cwd: root,
    env: { ...ownEnvironment(), LANEWAY_TOKEN: 'secret' },
    stdout: 'pipe',
    stderr: 'pipe',
    timeout: patienceMs,
  })

test.each([
  ['POST', 'createRoom'],
  ['POST', 'v1/sessions'],
  ['PUT', 'batches/0'],
  ['PUT', 'batches/1'],
  ['POST', 'commit'],
])(
  'killed at %s %s, before or after it was done, the next run ends the same',
  async (method, end) => {
    for (const isDone of [true, false]) {
      await using folder = await exportFolder({ 'chat.ndjson': chat })
      await using server = new FakeServer()
      const planPath = join(folder.path, 'plan.toml')
      const access = { token: 'secret', tokenFile: undefined }
      await plan(
        folder.path,
        { ...access, server: server.url, out: planPath, format: 'auto' },
        console,
      )
      const first = spawn(['run', planPath])
      let killed = false
      server.onRequest = (asked, path) => {
        if (killed || asked !== method || !path.endsWith(end)) return undefined
        killed = true
        first.kill('SIGKILL')
        return isDone ? undefined : { status: 503, body: {} }
      }
      await first.exited
      expect(killed).toBe(true)
      expect(await run(planPath, { ...access, jobs: 1, media: true }, console)).toBe(0)
      expect(server.rooms.size).toBe(1)
      const [roomId] = server.rooms.keys()
      expect(server.texts(roomId!)).toEqual(Array.from({ length: count }, (_, id) => `text ${id}`))
    }
  },
)

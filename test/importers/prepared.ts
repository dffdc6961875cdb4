import { join } from 'node:path'
import type { Console } from '#importers/commands/console.ts'
import { plan } from '#importers/commands/plan.ts'
import { run, type RunOptions } from '#importers/commands/run.ts'
import { FakeServer } from '#test/importers/fake-server.ts'
import { exportFolder } from '#test/importers/items.ts'

/** When the first line was said. */
export const start = Date.UTC(2020, 0, 1)
/** A message, as a line. */
export const line = (id: number, more: object = {}) =>
  `${JSON.stringify({
    kind: 'message',
    room: 'general',
    id: `m${id}`,
    sender: `u${id % 3}`,
    time: start + id * 1000,
    body: `text ${id}`,
    ...more,
  })}\n`
/** Those who say it, as lines. */
export const people = [0, 1, 2]
  .map((each) => `${JSON.stringify({ kind: 'person', id: `u${each}`, name: `User ${each}` })}\n`)
  .join('')
/** So many messages. */
export const lines = (count: number) => Array.from({ length: count }, (_, id) => line(id)).join('')

/** A console that keeps what it is told. */
export function quiet(): Console & { told: string[]; finishing: AbortController } {
  const told: string[] = []
  const finishing = new AbortController()
  const write = (text: string) => void told.push(text)
  return {
    told,
    finishing,
    write,
    warn: write,
    isTerminal: false,
    json: true,
    finish: finishing.signal,
    stop: new AbortController().signal,
  }
}

/** What the server lets in. */
export const access = { token: 'secret', tokenFile: undefined }

/** An export, a server, and a plan of the one for the other. */
export async function prepared(
  content: string,
  more: { [name: string]: string | Uint8Array } = {},
) {
  const folder = await exportFolder({ 'export/chat.ndjson': people + content, ...more })
  const server = new FakeServer()
  const planPath = join(folder.path, 'plan.toml')
  const exportPath = join(folder.path, 'export')
  const planned = await plan(
    exportPath,
    { ...access, server: server.url, out: planPath, format: 'auto' },
    quiet(),
  )
  return {
    server,
    planned,
    planPath,
    exportPath,
    file: join(exportPath, 'chat.ndjson'),
    run: (options: Partial<RunOptions> = {}, console = quiet()) =>
      run(planPath, { ...access, jobs: 2, media: true, ...options }, console),
    async [Symbol.asyncDispose]() {
      await server[Symbol.asyncDispose]()
      await folder[Symbol.asyncDispose]()
    },
  }
}

/** The room that the server makes first. */
export const roomId = '!room0:home.test'
/** What is said in so many lines. */
export const texts = (count: number) => Array.from({ length: count }, (_, id) => `text ${id}`)

import { expect, test } from 'bun:test'
import { createHash } from 'node:crypto'
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { ownEnvironment } from '#test/laneway.ts'
import { patienceMs, until } from '#test/until.ts'
import { importHome } from './import-home.ts'

const root = new URL('../..', import.meta.url).pathname
const count = 3000

const { folder, server, admin, joinedRooms } = await importHome('random-kills')

/** The program as people run it. */
function program(args: string[]) {
  return Bun.spawn([process.execPath, join(root, 'importers/main.ts'), ...args], {
    cwd: root,
    env: { ...ownEnvironment(), LANEWAY_TOKEN: admin.token },
    stdout: 'ignore',
    stderr: 'pipe',
    timeout: patienceMs,
  })
}

/** How it ended, and what it said. */
async function ended(args: string[]) {
  const child = program(args)
  const told = await new Response(child.stderr).text()
  const code = await child.exited
  return code === 0 ? 0 : told
}

const planOf = (name: string) => join(folder, `${name}.toml`)

/** A plan for the export; all plans have one source, so that their rooms can be the same. */
async function planned(name: string, exportPath: string) {
  const options = ['--server', server.clientUrl, '--source', 'chat', '--out', planOf(name)]
  expect(await ended(['plan', exportPath, ...options])).toBe(0)
}

/** The rooms of the importer that it did not have before. */
async function roomsBut(known: readonly string[]): Promise<string[]> {
  return (await joinedRooms()).filter((each) => !known.includes(each))
}

/** What stands in a room, in its order: how many messages, and a hash of who said what when. */
async function readingOf(roomId: string) {
  const hash = createHash('sha256')
  let messages = 0
  for (const { type, sender, origin_server_ts: ts, content } of await admin.history(roomId)) {
    if (type !== 'm.room.message') continue
    messages++
    hash.update(JSON.stringify([sender, ts, content['body']]))
  }
  return { messages, hash: hash.digest('hex') }
}

test('killed on either side at random moments, an import ends as one that was left alone', async () => {
  const exportPath = join(folder, 'export')
  await mkdir(exportPath)
  const lines = Array.from({ length: count }, (_, id) =>
    JSON.stringify({
      kind: 'message',
      room: 'general',
      id: String(id),
      sender: `u${id % 5}`,
      time: Date.UTC(2020, 0, 1) + Math.floor(id / 2),
      body: `text ${id}`,
      // Much text, so that there are many batches.
      html: `<p>${'x'.repeat(4000)}</p>`,
      ...(id % 9 === 8 && { replyTo: String(id - 5) }),
      ...(id % 10 === 4 && { thread: String(id - 4) }),
    }),
  )
  await Bun.write(join(exportPath, 'chat.ndjson'), lines.join('\n'))

  await planned('alone', exportPath)
  expect(await ended(['run', planOf('alone')])).toBe(0)
  const [alone] = await roomsBut([])
  await until(async () => (await readingOf(alone!)).messages === count)

  await planned('killed', exportPath)
  const moments: string[] = []
  for (const who of ['importer', 'server', 'importer', 'server']) {
    // So slow that it takes three seconds if nothing happens to it.
    const running = program(['run', planOf('killed'), '--rate', '1000'])
    const moment = Math.floor(Math.random() * 2000)
    moments.push(`${who} after ${moment} ms`)
    await Bun.sleep(moment)
    if (who === 'server') {
      await server.stop('SIGKILL')
      running.kill('SIGKILL')
      await server.start()
    } else running.kill('SIGKILL')
    await running.exited
  }
  const told = { moments, end: await ended(['run', planOf('killed')]) }
  expect(told).toEqual({ moments, end: 0 })
  const [killed, ...more] = await roomsBut([alone!])
  expect(more).toEqual([])
  await until(async () => (await readingOf(killed!)).messages >= count)
  expect({ moments, ...(await readingOf(killed!)) }).toEqual({
    moments,
    ...(await readingOf(alone!)),
  })

  // Once more, and once more from the beginning: nothing changes.
  for (const again of [[], ['--restart']])
    expect(await ended(['run', planOf('killed'), ...again])).toBe(0)
  expect(await readingOf(killed!)).toEqual(await readingOf(alone!))
  expect(await roomsBut([alone!, killed!])).toEqual([])
})

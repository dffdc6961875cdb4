import { expect, test } from 'bun:test'
import type { Format, Item, Problem } from '#importers/format.ts'
import { discord } from '#importers/discord/discord.ts'
import { mattermost } from '#importers/mattermost/mattermost.ts'
import { slack } from '#importers/slack/slack.ts'
import type { Source } from '#importers/source.ts'
import { zulip } from '#importers/zulip/zulip.ts'
import { type Entries, entriesOf } from '#test/importers/archives.ts'
import { exportOf } from '#test/importers/exports.ts'

/** The same numbers in each run. */
function numbers(seed: number): (below: number) => number {
  let state = seed
  return (below) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    return Math.floor((state / 2 ** 32) * below)
  }
}

const odd: unknown[] = [
  null,
  true,
  0,
  -1,
  1e300,
  2 ** 53,
  '',
  '__proto__',
  'constructor',
  '\u0000\uD800\uE000',
  'x'.repeat(5000),
  [],
  [null, [[]]],
  {},
  { type: {}, id: [], name: 7, text: false },
]

/** Puts something odd in the place of one value, or of a name, anywhere in JSON. */
function mangled(json: unknown, next: (below: number) => number): unknown {
  const places: [object: Record<string, unknown>, key: string][] = []
  const walk = (value: unknown) => {
    if (typeof value !== 'object' || value === null) return
    for (const key of Object.keys(value)) {
      places.push([value as Record<string, unknown>, key])
      walk((value as Record<string, unknown>)[key])
    }
  }
  walk(json)
  const [object, key] = places[next(places.length)]!
  object[key] = odd[next(odd.length)]
  return json
}

function memorySource(files: ReadonlyMap<string, Uint8Array>): Source {
  const get = (name: string) => {
    const bytes = files.get(name)
    if (!bytes) throw new Error(`There is no ${name} in the export`)
    return bytes
  }
  return {
    path: 'memory',
    entries: [...files].map(([name, bytes]) => ({ name, size: bytes.length })),
    has: (name) => files.has(name),
    head: (name, size = 4096) => Promise.resolve(get(name).subarray(0, size)),
    // In pieces, so that everything stands on a border once.
    async *open(name) {
      const bytes = get(name)
      for (let at = 0; at < bytes.length; at += 61)
        yield await Promise.resolve(bytes.subarray(at, at + 61))
    },
    close: () => Promise.resolve(),
  }
}

async function readAll(format: Format, files: ReadonlyMap<string, Uint8Array>) {
  const items: Item[] = []
  const problems: Problem[] = []
  const context = { options: {}, problem: (problem: Problem) => void problems.push(problem) }
  const source = memorySource(files)
  await format.recognize(source)
  for await (const item of format.read(source, context)) items.push(item)
  return { items, problems }
}

/** What stands behind a format relies on. */
function check(items: readonly Item[]): void {
  for (const item of items) {
    if (item.kind === 'room' || item.kind === 'person') expect(item.id).toBeString()
    if (item.kind !== 'message' && item.kind !== 'notice') continue
    for (const name of ['id', 'room', 'sender', 'body'] as const) expect(item[name]).toBeString()
    expect(item.id).not.toBe('')
    expect(item.time).toBeNumber()
    expect(item.place?.file).toBeString()
    JSON.stringify(item)
  }
}

const exports: [Format, string[]][] = [
  [slack, ['slack/workspace', 'slack/ordinary', 'slack/blocks', 'slack/bot-boxes', 'slack/files']],
  [discord, ['discord/ordinary', 'discord/webhooks', 'discord/threads', 'discord/forwarded']],
  [mattermost, ['mattermost/webhooks', 'mattermost/ordinary']],
  [zulip, ['zulip/realm', 'zulip/ordinary']],
]

/** How much of a file has to be there: what is not read is not missed, and between lines nothing is. */
function wanted(name: string, bytes: Uint8Array): number {
  if (/(integration_logs|attachment|records|migration_status)\.json$|\.jsonl$/.test(name)) return 0
  const behind = Buffer.from(bytes).indexOf('"zerver_usermessage"')
  return behind < 0 ? bytes.length - 3 : behind - 5
}

const isText = (name: unknown) => /\.jsonl?$/.test(String(name))

test.each(exports)('no odd value anywhere in an export stops $name', async (format, parts) => {
  const entries: Entries = await entriesOf(await exportOf(...parts))
  const next = numbers(7)
  for (let round = 0; round < 120; round++) {
    const files = new Map(entries.map(([name, bytes]) => [String(name), bytes as Uint8Array]))
    const names = [...files.keys()].filter(isText)
    const name = names[next(names.length)]!
    const lines = new TextDecoder().decode(files.get(name)).trim()
    if (name.endsWith('.jsonl')) {
      const each = lines.split('\n')
      const at = next(each.length)
      each[at] = JSON.stringify(mangled(JSON.parse(each[at]!), next))
      files.set(name, new TextEncoder().encode(each.join('\n')))
    } else {
      files.set(
        name,
        new TextEncoder().encode(JSON.stringify(mangled([JSON.parse(lines)], next)).slice(1, -1)),
      )
    }
    check((await readAll(format, files)).items)
  }
})

test.each(exports)(
  'no damage to the bytes of an export stops $name, and it is told',
  async (format, parts) => {
    const entries: Entries = await entriesOf(await exportOf(...parts))
    const next = numbers(11)
    for (let round = 0; round < 80; round++) {
      const files = new Map(entries.map(([name, bytes]) => [String(name), bytes as Uint8Array]))
      const names = [...files.keys()].filter(isText)
      const name = names[next(names.length)]!
      const bytes = Uint8Array.from(files.get(name)!)
      const at = next(bytes.length)
      if (round % 2) bytes[at] = next(256)
      files.set(name, round % 2 ? bytes : bytes.subarray(0, at))
      const { items, problems } = await readAll(format, files)
      check(items)
      if (round % 2 === 0 && at < wanted(name, bytes))
        expect(problems, `${name} cut off at ${at}`).not.toEqual([])
    }
  },
)

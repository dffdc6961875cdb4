import { expect, test } from 'bun:test'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { formatOf } from '#importers/formats.ts'
import { mattermost } from '#importers/mattermost/mattermost.ts'
import { slack } from '#importers/slack/slack.ts'
import { openSource } from '#importers/source/open.ts'
import { Stop } from '#importers/stop.ts'
import { zulip } from '#importers/zulip/zulip.ts'
import { newFolder } from '#test/folder.ts'
import { type Entries, entriesOf, tarGzOf, zipOf } from '#test/importers/archives.ts'
import { exportOf, fixture, readExport } from '#test/importers/exports.ts'

async function written(name: string, bytes: Uint8Array): Promise<string> {
  const path = join(await newFolder('archive'), name)
  await writeFile(path, bytes)
  return path
}

const said = (ts: string, text: string) =>
  JSON.stringify([{ type: 'message', user: 'U01A', ts, text }])

const workspace = async (...more: Entries): Promise<Entries> => [
  ...(await entriesOf(fixture('slack/workspace'))),
  ...more,
]

/** Records without where they stood: the same export in another archive. */
const recordsOf = (items: readonly object[]) =>
  items
    .map((item) => JSON.stringify({ ...item, place: undefined }))
    .sort((one, other) => (one < other ? -1 : 1))

test('an export gives the same records in a zip as in a folder', async () => {
  const folder = await exportOf('slack/workspace', 'slack/ordinary')
  const path = await written('export.zip', zipOf(await entriesOf(folder)))
  const [packed, plain] = [await readExport(slack, path), await readExport(slack, folder)]
  expect(packed.problems).toEqual([])
  expect(recordsOf(packed.items)).toEqual(recordsOf(plain.items))
})

test('names are UTF-8 in an archive that does not say so', async () => {
  const channels = JSON.stringify([{ id: 'C09', name: 'größe', members: [] }])
  const entries = await workspace(
    ['channels.json', channels],
    ['größe/2017-07-14.json', said('1.1', 'hello')],
  )
  const unique = entries.filter(
    ([name], at) => name !== 'channels.json' || at >= entries.length - 2,
  )
  const reading = await readExport(slack, await written('export.zip', zipOf(unique)))
  expect(reading.message('1.1').room).toBe('C09')
  expect(reading.problems).toEqual([])
})

test('names that lead out of the archive are refused, and the rest is read', async () => {
  const path = await written(
    'export.zip',
    zipOf(
      await workspace(
        ['../../general/2017-07-14.json', said('1.1', 'out')],
        ['/general/2017-07-15.json', said('2.1', 'out')],
        ['general/2017-07-16.json', said('3.1', 'in')],
      ),
    ),
  )
  const reading = await readExport(slack, path)
  expect(reading.all('message').map(({ body }) => body)).toEqual(['in'])
  expect(reading.problems.map((problem) => problem.class)).toEqual([
    'unsafe_archive',
    'unsafe_archive',
  ])
})

test('an entry that unpacks to far more than it is is refused, and the rest is read', async () => {
  const bomb = new Uint8Array(70_000_000)
  const entries = await workspace(
    ['general/2017-07-14.json', said('1.1', 'before')],
    ['general/2017-07-15.json', bomb],
  )
  const reading = await readExport(slack, await written('export.zip', zipOf(entries)))
  expect(reading.all('message').map(({ body }) => body)).toEqual(['before'])
  expect(reading.problems).toMatchObject([
    { class: 'unsafe_archive', place: { file: 'general/2017-07-15.json' }, done: 'skipped' },
  ])
})

test('a damaged entry is told, and the other days are read', async () => {
  const text = Array.from({ length: 200 }, (_, at) => `${at} ${Bun.hash.crc32(String(at))}`).join()
  const entries = await workspace(
    ['general/2017-07-14.json', said('1.1', 'before')],
    ['general/2017-07-15.json', said('2.1', text)],
    ['general/2017-07-16.json', said('3.1', 'after')],
  )
  const bytes = zipOf(entries)
  const at = bytes.indexOf('general/2017-07-15.json') + 200
  bytes.fill(0xff, at, at + 300)
  const reading = await readExport(slack, await written('export.zip', bytes))
  expect(reading.all('message').map(({ body }) => body)).toEqual(['before', 'after'])
  expect(reading.problems.map(({ place }) => place.file)).toContain('general/2017-07-15.json')
})

const days = (count: number): Entries =>
  Array.from({ length: count }, (_, at) => {
    const text = Array.from({ length: 40 }, (_each, n) => `${at} ${Bun.hash.crc32(`${at} ${n}`)}`)
    return [`general/2017-07-${10 + at}.json`, said(`${at + 1}.1`, text.join())]
  })

test.each([
  ['with sizes before its entries', {}],
  ['with sizes behind its entries', { streamed: true }],
  ['unpacked, with sizes behind its entries', { streamed: true, stored: true }],
])('a zip %s that was cut off gives what is whole in it', async (_, options) => {
  const bytes = zipOf(await workspace(...days(9)), options)
  const cut = bytes.indexOf('general/2017-07-15.json') + 60
  const path = await written('export.zip', bytes.subarray(0, cut))
  const reading = await readExport(slack, path)
  expect(reading.all('message').map(({ id }) => id)).toEqual(['1.1', '2.1', '3.1', '4.1', '5.1'])
  expect(reading.all('person').length).toBeGreaterThan(0)
  const told = reading.problems.map(({ place, reason }) => `${place.file}: ${reason}`).join('\n')
  expect(told).toContain('general/2017-07-15.json: The archive ends within this file')
  expect(told).toContain('may have been interrupted')
  expect(reading.problems.at(-1)).toMatchObject({
    class: 'malformed',
    place: { file: 'general/2017-07-15.json' },
  })
})

test.each([{}, { streamed: true }])(
  'damage in a zip without a directory costs the entry that it is in',
  async (options) => {
    const bytes = zipOf(await workspace(...days(3)), options)
    const damaged = bytes.indexOf('general/2017-07-11.json')
    // The header itself, and the beginning of what is packed behind it.
    bytes.fill(0xee, damaged - 30, damaged + 60)
    const path = await written('export.zip', bytes.subarray(0, bytes.length - 100))
    const reading = await readExport(slack, path)
    expect(reading.all('message').map(({ id }) => id)).toEqual(['1.1', '3.1'])
    const reasons = reading.problems.map(({ reason }) => reason).join('\n')
    expect(reasons).toMatch(/\d+ bytes of the archive cannot be read/)
  },
)

test('a bomb in a zip without a directory is not unpacked', async () => {
  const entries: Entries = [['users.json', new Uint8Array(70_000_000)]]
  const bytes = zipOf(entries, { streamed: true })
  const path = await written('export.zip', bytes.subarray(0, bytes.length - 30))
  const opened = await openSource(path, () => {}).then(
    () => undefined,
    (error: unknown) => error,
  )
  expect(opened).toBeInstanceOf(Stop)
  expect(String(opened)).toContain('so much more than it is')
})

test('a bomb that says of itself that it is small ends where it is found out', async () => {
  const bytes = zipOf([['users.json', new Uint8Array(70_000_000)]])
  // What is unpacked, in the header before it.
  bytes.writeUInt32LE(100, 22)
  const path = await written('export.zip', bytes.subarray(0, bytes.length - 30))
  const source = await openSource(path, () => {})
  let unpacked = 0
  const reading = (async () => {
    for await (const chunk of source.open('users.json')) unpacked += chunk.length
  })()
  expect(await reading.catch(String)).toContain('so much more than it is')
  expect(unpacked).toBeLessThan(70_000_000)
})

test('a zip of which nothing is left says what to do', async () => {
  const path = await written('export.zip', zipOf(days(1)).subarray(0, 20))
  const opened = await openSource(path, () => {}).then(
    () => undefined,
    (error: unknown) => error,
  )
  expect(opened).toBeInstanceOf(Stop)
  expect(String(opened)).toContain('download it again')
})

test('attachments of a bulk export are found in its zip', async () => {
  const path = await written('e.zip', zipOf(await entriesOf(fixture('mattermost/ordinary'))))
  const reading = await readExport(mattermost, path)
  const entry = 'data/20200913/teams/noteam/channels/x/users/y/z/a.png'
  expect(reading.message('1600000000123-alice').files).toEqual([
    { name: 'a.png', content: { entry } },
  ])
})

test('a tar below a folder is read, and one that was cut off until there', async () => {
  const folder = await exportOf('zulip/realm', 'zulip/ordinary')
  const entries = (await entriesOf(folder))
    .map(([name, content]): Entries[0] => [`zulip-export-x/${String(name)}`, content])
    .sort(([one], [other]) =>
      String(one).endsWith('realm.json') ? -1 : String(other).endsWith('realm.json') ? 1 : 0,
    )
  const bytes = await tarGzOf(entries)
  const whole = await readExport(zulip, await written('zulip.tar.gz', bytes))
  expect(whole.all('message')).toHaveLength(10)
  expect(whole.problems).toEqual([])

  const cut = await written('zulip.tar.gz', bytes.subarray(0, bytes.length - 200))
  const reading = await readExport(zulip, cut)
  expect(reading.all('person')).toHaveLength(8)
  expect(reading.problems[0]?.reason).toContain('interrupted')
})

test.each([
  ['slack', ['slack/workspace', 'slack/ordinary']],
  ['discord', ['discord/ordinary']],
  ['mattermost', ['mattermost/ordinary']],
  ['zulip', ['zulip/realm', 'zulip/ordinary']],
])('%s is found among all formats', async (name, parts) => {
  const source = await openSource(await exportOf(...parts), () => {})
  try {
    const { format, why } = await formatOf(source, 'auto')
    expect(format.name).toBe(name)
    expect(why).not.toBe('')
  } finally {
    await source.close()
  }
})

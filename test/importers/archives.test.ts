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

test('a zip that was cut off says so in a sentence', async () => {
  const bytes = zipOf(await workspace(['general/2017-07-14.json', said('1.1', 'x')]))
  const path = await written('export.zip', bytes.subarray(0, bytes.length - 100))
  const opened = await openSource(path, () => {}).then(
    () => undefined,
    (error: unknown) => error,
  )
  expect(opened).toBeInstanceOf(Stop)
  expect(String(opened)).toContain('interrupted')
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

import { expect, test } from 'bun:test'
import { join } from 'node:path'
import type { Format } from '#importers/format.ts'
import { formats } from '#importers/formats.ts'
import { exportOf, readExport, recognizeExport } from '#test/importers/exports.ts'

const root = join(import.meta.dir, '../..')
const page = await Bun.file(join(root, 'docs/importing-formats.md')).text()

test('the format in the manual works as it stands there', async () => {
  const [, code = ''] = /^```ts\n([^]*?)^```$/m.exec(page) ?? []
  const folder = await exportOf({
    'linechat.ts': code.replaceAll("'#importers/", `'${root}/importers/`),
    'logs/rooms/general.log':
      '2024-05-06T07:08:09Z\talice\thello **you**\nnonsense\n2024-05-06T07:08:09Z\tbob\tha\n',
  })
  const { linechat } = (await import(join(folder, 'linechat.ts'))) as { linechat: Format }
  const logs = join(folder, 'logs')
  expect(await recognizeExport(linechat, logs)).toMatchObject({ sure: 0.9 })
  const reading = await readExport(linechat, logs)
  expect(reading.message('rooms/general.log:0')).toMatchObject({
    sender: 'alice',
    time: Date.UTC(2024, 4, 6, 7, 8, 9),
    html: 'hello <strong>you</strong>',
  })
  expect(reading.all('message')).toHaveLength(2)
  expect(reading.problems.map(({ place }) => place.line)).toEqual([2])
})

test('the manual lists every format, and every file it tells to build on is there', async () => {
  for (const { name } of formats) expect(page).toContain(`| \`${name}\``)
  const named = [...page.matchAll(/`((?:read|markup)\/[\w-]+\.ts)`/g)].map(([, file]) => file!)
  expect(named.length).toBeGreaterThan(5)
  for (const file of named) {
    expect(await Bun.file(join(root, 'importers', file)).exists(), file).toBe(true)
  }
})

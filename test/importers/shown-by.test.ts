import { expect, test } from 'bun:test'
import { join } from 'node:path'
import { formats } from '#importers/formats.ts'
import { goneAmong } from '#test/spec/texts-in.ts'

/**
 * shown-by.tsv says which test shows each trap of the exports that are read, each thing that the command
 * line promises, and what becomes of bad input. What it names must be there.
 */
const [head, ...lines] = (await Bun.file(join(import.meta.dir, 'shown-by.tsv')).text())
  .trimEnd()
  .split('\n')
const rows = lines.map((line) => {
  const [part = '', what = '', file = '', test = ''] = line.split('\t')
  return { part, what, file, test }
})

test('every row is whole, and says what no other says', () => {
  expect(head).toBe('part\twhat\tfile\ttest')
  for (const line of lines) {
    expect({ line, cells: line.split('\t').filter(Boolean).length }).toEqual({ line, cells: 4 })
  }
  const told = rows.map(({ part, what }) => `${part}: ${what}`)
  expect(told.filter((each, index) => told.indexOf(each) !== index)).toEqual([])
})

test('every format has its traps, and the command line what it promises', () => {
  const parts = new Set(rows.map(({ part }) => part))
  const own = new Set(['ndjson'])
  for (const { name } of formats.filter((format) => !own.has(format.name)))
    expect(parts).toContain(name)
  for (const part of ['mapping', 'cli', 'verify', 'bad input']) expect(parts).toContain(part)
})

test('every test that is named is there', async () => {
  for (const { file } of rows) expect(file).toMatch(/^test\/.*\.test\.ts$/)
  expect(await goneAmong(rows)).toEqual([])
})

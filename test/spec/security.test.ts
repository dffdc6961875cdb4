import { expect, test } from 'bun:test'
import { join } from 'node:path'

/** docs/security.md names a test for each advisory, and the test names the advisory. */
const root = join(import.meta.dir, '../..')
const text = await Bun.file(join(root, 'docs/security.md')).text()
const rows = text
  .split('\n')
  .filter((line) => line.startsWith('|'))
  .map((line) => line.split('|').map((cell) => cell.trim()))
  .filter((cells) => cells.length === 6 && cells[4]!.startsWith('`'))
  .map(([, advisory, , , tests]) => ({
    advisory: advisory!,
    files: Array.from(tests!.matchAll(/`([^`]+)`/g), (match) => match[1]!),
  }))

/** The titles of tests and groups, and of the cases of tables. */
const titlesIn = (source: string): string =>
  Array.from(source.matchAll(/(['"`])((?:\\.|(?!\1).)*)\1/g), (match) => match[2]!)
    .filter((title) => title.includes(' '))
    .join('\n')

/** Names by which an advisory goes; one in brackets is another of the same. */
const namesOf = (advisory: string): string[] =>
  advisory
    .replace(/\([^)]*\)/g, '')
    .split(',')
    .map((name) => name.trim())

test('every advisory has a test that names it', async () => {
  expect(rows.length).toBeGreaterThan(60)
  const missing: string[] = []
  for (const { advisory, files } of rows) {
    const sources = await Promise.all(files.map((file) => Bun.file(join(root, file)).text()))
    const titles = sources.map(titlesIn)
    for (const name of namesOf(advisory))
      if (!titles.some((each) => each.includes(name))) missing.push(`${advisory}: ${name}`)
    // Each file that is named has something to do with it.
    for (const [index, file] of files.entries())
      if (!namesOf(advisory).some((name) => titles[index]!.includes(name)))
        missing.push(`${advisory}: ${file}`)
  }
  expect(missing).toEqual([])
})

test('it says where a fault is to be reported, and that nobody should do so in public', () => {
  const [, section] = text.split(/^## /m)
  expect(section).toStartWith('Reporting a vulnerability')
  expect(section).toContain('security advisory of the repository')
  expect(section).toContain('not by an issue or in a room')
})

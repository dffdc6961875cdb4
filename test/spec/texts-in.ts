import { join } from 'node:path'

const root = join(import.meta.dir, '../..')

/** The titles of a test file, of groups, and of the cases of a table: all texts that stand in it. */
export async function textsIn(file: string): Promise<Set<string>> {
  const source = await Bun.file(join(root, file)).text()
  // Tests that are skipped show nothing.
  const run = source.replace(/\b(?:test|describe)\.(?:skip|todo)\w*\([^\n]*/g, '')
  return new Set(Array.from(run.matchAll(/(['"`])((?:\\.|(?!\1).)*)\1/g), (match) => match[2]!))
}

/** Rows that name a test that is not there, as `file: test`. */
export async function goneAmong(
  rows: readonly { file: string; test: string }[],
): Promise<string[]> {
  const files = new Set(rows.map(({ file }) => file))
  const texts = new Map(
    await Promise.all([...files].map(async (file) => [file, await textsIn(file)] as const)),
  )
  return rows
    .filter((row) => !texts.get(row.file)!.has(row.test))
    .map(({ file, test }) => `${file}: ${test}`)
}

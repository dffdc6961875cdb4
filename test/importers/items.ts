import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import type { Format, Item, Problem, ReadOptions } from '#importers/format.ts'
import { openSource } from '#importers/source/open.ts'

/** What a format makes of an export: its items, and what it could not read. */
export async function itemsOf(
  format: Format,
  path: string,
  options: ReadOptions = {},
): Promise<{ items: Item[]; problems: Problem[] }> {
  const items: Item[] = []
  const problems: Problem[] = []
  const source = await openSource(path, (problem) => problems.push(problem))
  try {
    const context = { options, problem: (problem: Problem) => void problems.push(problem) }
    for await (const item of format.read(source, context)) items.push(item)
  } finally {
    await source.close()
  }
  return { items, problems }
}

/** A folder with these files, which goes away at the end of the scope (`await using`). */
export async function exportFolder(files: {
  [name: string]: string | Uint8Array
}): Promise<{ path: string } & AsyncDisposable> {
  const path = await mkdtemp(join(tmpdir(), 'laneway-export-'))
  for (const [name, content] of Object.entries(files)) {
    await Bun.$`mkdir -p ${join(path, dirname(name))}`.quiet()
    await Bun.write(join(path, name), content)
  }
  return { path, [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true }) }
}

/** Items as lines: what golden files hold. */
export function linesOf(items: readonly Item[]): string {
  return items.map((item) => `${JSON.stringify(item)}\n`).join('')
}

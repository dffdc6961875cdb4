import type { TObject, TSchema } from '@sinclair/typebox'

/** What the loader needs to know of a schema: which options there are, by path. */
export const isTable = (schema: TSchema): schema is TObject =>
  schema['type'] === 'object' && schema['properties'] !== undefined

export type Option = { path: string[]; schema: TSchema }

/** Every option of the file that is not a table itself. */
export function optionsOf(schema: TObject, path: string[] = []): Option[] {
  return Object.entries(schema.properties).flatMap(([key, child]) => {
    const here = [...path, key]
    return isTable(child) ? optionsOf(child, here) : [{ path: here, schema: child }]
  })
}

export type Table = Record<string, unknown>

export const isRecord = (value: unknown): value is Table =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

/** The table at a path, made if it is missing; nothing if something else is in its place. */
export function tableAt(root: Table, path: readonly string[]): Table | undefined {
  let table = root
  for (const key of path) {
    const next = (table[key] ??= {})
    if (!isRecord(next)) return undefined
    table = next
  }
  return table
}

/** The candidate that a misspelt word most likely means, if any is near. */
export function nearest(word: string, candidates: Iterable<string>): string | undefined {
  let best: string | undefined
  let bestDistance = Math.max(2, Math.ceil(word.length / 3)) + 1
  for (const candidate of candidates) {
    const distance = editDistance(word.toLowerCase(), candidate.toLowerCase())
    if (distance < bestDistance) [best, bestDistance] = [candidate, distance]
  }
  return best
}

function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, index) => index)
  for (let i = 1; i <= a.length; i++) {
    const next = [i]
    for (let j = 1; j <= b.length; j++)
      next[j] = Math.min(
        row[j]! + 1,
        next[j - 1]! + 1,
        row[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1),
      )
    row = next
  }
  return row[b.length]!
}

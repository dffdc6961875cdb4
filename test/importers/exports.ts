import { cp, mkdir, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import type { Format, Item, Problem } from '#importers/format.ts'
import { openSource } from '#importers/source/open.ts'
import { newFolder } from '#test/folder.ts'

/** Files by their names: text, bytes, or what is written as JSON. */
export type Files = { [name: string]: unknown }

export const fixture = (name: string): string => join(import.meta.dir, 'fixtures', name)

/** A folder with fixtures and files laid over each other, later ones over earlier ones. */
export async function exportOf(...parts: (string | Files)[]): Promise<string> {
  const folder = await newFolder('export')
  for (const part of parts) {
    if (typeof part === 'string') await cp(fixture(part), folder, { recursive: true })
    else
      for (const [name, content] of Object.entries(part)) await write(join(folder, name), content)
  }
  return folder
}

async function write(path: string, content: unknown): Promise<void> {
  await mkdir(dirname(path), { recursive: true })
  const asIs = typeof content === 'string' || content instanceof Uint8Array
  await writeFile(path, asIs ? content : JSON.stringify(content))
}

export type Kind = Item['kind']
export type Of<K extends Kind> = Extract<Item, { kind: K }>

/** What a format reads of an export, in the order in which it reads. */
export class Reading {
  readonly items: Item[] = []
  readonly problems: Problem[] = []

  all<K extends Kind>(kind: K): Of<K>[] {
    return this.items.filter((item): item is Of<K> => item.kind === kind)
  }

  /** The message, or what else has a place in a room, of an ID. */
  message(id: string, room?: string): Of<'message'> {
    const found = this.all('message').find(
      (each) => each.id === id && (room === undefined || each.room === room),
    )
    if (!found) throw new Error(`There is no message ${id}`)
    return found
  }

  /** Class, what was done and place of each problem, short. */
  get trouble(): string[] {
    return this.problems.map(
      ({ class: kind, done, place, id }) =>
        `${kind} ${done} ${place.file}${id === undefined ? '' : ` ${id}`}`,
    )
  }

  /** One line of JSON for each item and problem. */
  get lines(): string[] {
    return [...this.items, ...this.problems.map((problem) => ({ problem }))].map((each) =>
      JSON.stringify(each),
    )
  }
}

/** Reads an export at a path as the command line does. */
export async function readExport(
  format: Format,
  path: string,
  timezone?: string,
): Promise<Reading> {
  const reading = new Reading()
  const problem = (each: Problem) => void reading.problems.push(each)
  const source = await openSource(path, problem)
  try {
    const options = timezone === undefined ? {} : { timezone }
    for await (const item of format.read(source, { problem, options })) reading.items.push(item)
    return reading
  } finally {
    await source.close()
  }
}

/** What a format says about an export at a path. */
export async function recognizeExport(format: Format, path: string) {
  const source = await openSource(path, () => {})
  try {
    return await format.recognize(source)
  } finally {
    await source.close()
  }
}

/** What was read once and looked through: a file of one JSON line each. */
export async function golden(name: string): Promise<string[]> {
  return (await Bun.file(fixture(name)).text()).trim().split('\n')
}

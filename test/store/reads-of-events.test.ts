import { describe, expect, test } from 'bun:test'
import { Glob } from 'bun'

/**
 * Events of imports that are not published, or were undone, are rows like others: every statement that reads
 * events has to leave them out. `reads-of-events.tsv` says how each file does, and how often it looks an
 * event up by its ID: whoever adds a file, or such a place, thinks of them.
 */
const store = new URL('../../src/store/', import.meta.url).pathname
const read = /\b(?:from|join)\s+(?:events|event_ids|event_json|relations|search_words)\b/
const byId = /\b(?:from|join)\s+event_ids\b/g

/** What keeps them out. */
const ways: Record<string, RegExp> = {
  // By ID, by room: they are asked for.
  filtered: /isUnseen|isKept|isUndone/,
  spans: /not (?:s\.)?hidden/,
  // They have none.
  position: /position/,
  // They are in none, but for memberships of what was undone.
  state: /current_state|memberships/,
  // What was found in one of these ways.
  numbers: /event_nid|nid/,
  // Whoever writes the room, and what tells importers of their own.
  owner: /./,
  importer: /import_records/,
}

type Entry = { file: string; byId: number; how: string; what: string }

const ledger: Entry[] = (await Bun.file(new URL('reads-of-events.tsv', import.meta.url)).text())
  .trimEnd()
  .split('\n')
  .slice(1)
  .map((line) => {
    const [file, ids, how, what] = line.split('\t') as [string, string, string, string]
    return { file, byId: Number(ids), how, what }
  })

describe('files that read events', () => {
  test('are in the ledger, with as many look-ups by ID as it was last looked at for', async () => {
    const found: Record<string, number> = {}
    for await (const file of new Glob('**/*.ts').scan(store)) {
      const text = await Bun.file(store + file).text()
      if (read.test(text)) found[file] = text.match(byId)?.length ?? 0
    }
    const known = ledger.filter(({ file }) => file in found).map((each) => [each.file, each.byId])
    expect(Object.fromEntries(known)).toEqual(found)
  })

  test.each(ledger)('$file leaves out what is not to be seen: $what', async ({ file, how }) => {
    expect(Object.keys(ways)).toContain(how)
    expect(await Bun.file(store + file).text()).toMatch(ways[how]!)
  })
})

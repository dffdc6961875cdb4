import { expect, test } from 'bun:test'
import { join } from 'node:path'
import { readLedger, readNotYet } from '#test/spec/ledger.ts'
import { goneAmong } from '#test/spec/texts-in.ts'

/**
 * shown-by.tsv says which test shows each route between servers, served and called, each rule that
 * implementers get wrong, what newer versions of the spec ask of servers, and what docs/security.md
 * claims. What it names must be there.
 */
type Row = {
  kind: 'route' | 'rule' | 'version'
  what: string
  how: string
  file: string
  test: string
}
const columns = ['kind', 'what', 'how', 'file', 'test'] as const

const [head, ...lines] = (await Bun.file(join(import.meta.dir, 'shown-by.tsv')).text())
  .trimEnd()
  .split('\n')
const rows = lines.map((line) => {
  const cells = line.split('\t')
  return Object.fromEntries(columns.map((column, index) => [column, cells[index]])) as Row
})
const routes = rows.filter(({ kind }) => kind === 'route')

/** What a homeserver has no reason to ask another one. */
const askedByOthers = new Map([
  ['getContentThumbnail', 'thumbnails are made of what was fetched'],
  ['perspectivesKeyQuery', 'notaries are asked with POST'],
  ['exchangeOpenIdToken', 'third parties ask who a user is'],
  ['queryInfo', 'no other query is known'],
  ['onBindThirdPartyIdentifier', 'identity servers tell of what was bound'],
  ['getVersion', 'nothing depends on it'],
])

const ledger = (await readLedger()).filter(({ api }) => api === 'federation')
const notYet = await readNotYet()

test('every route between servers is served and called, or known not to be', () => {
  const shown = new Set(routes.map(({ what, how }) => `${how} ${what}`))
  const wanted = ledger.flatMap(({ file, operationId: id }) => [
    ...(notYet.includes(`${file} ${id}`) ? [] : [`served ${id}`]),
    ...(askedByOthers.has(id) ? [] : [`called ${id}`]),
  ])
  expect([...shown].sort()).toEqual(wanted.sort())
})

test('every row is whole, and says what no other says', () => {
  expect(head).toBe(columns.join('\t'))
  for (const [index, line] of lines.entries()) {
    const { kind, what, how } = rows[index]!
    expect({ line, cells: line.split('\t').length }).toEqual({ line, cells: columns.length })
    expect(['route', 'rule', 'version', 'claim']).toContain(kind)
    expect(what).not.toBe('')
    expect(kind === 'route' ? ['served', 'called'] : ['–']).toContain(how)
  }
  expect(lines.filter((line, index) => lines.indexOf(line) !== index)).toEqual([])
})

test('every test that is named is there', async () => {
  for (const { file } of rows) expect(file).toMatch(/^test\/.*\.test\.ts$/)
  expect(await goneAmong(rows)).toEqual([])
})

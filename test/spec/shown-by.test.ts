import { expect, test } from 'bun:test'
import { join } from 'node:path'
import { readLedger, readNotYet } from '#test/spec/ledger.ts'
import { goneAmong } from '#test/spec/texts-in.ts'

/**
 * shown-by.tsv says which test shows each route between servers, served and called, each rule that
 * implementers get wrong, what newer versions of the spec ask of servers, what docs/security.md
 * claims, what application services are asked and may do, and of batches of history (MSC2716) each
 * subtest and each defect of the implementation that there was. What it names must be there.
 */
type Row = {
  kind: 'route' | 'rule' | 'version' | 'claim' | 'appservice' | 'history'
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

/** The application service API, which servers call. */
const askedOfAppservices = [
  'getProtocolMetadata',
  'ping',
  'queryLocationByAlias',
  'queryLocationByProtocol',
  'queryRoomByAlias',
  'queryUserByID',
  'queryUserById',
  'queryUserByProtocol',
  'sendTransaction',
]

test('everything is asked of application services that the spec has for it', async () => {
  const shown = rows.filter(({ kind, how }) => kind === 'appservice' && how === 'asked')
  expect(shown.map(({ what }) => what).sort()).toEqual(askedOfAppservices)
  const folder = process.env['LANEWAY_SPEC']
  if (!folder) return
  const ids: string[] = []
  for (const file of new Bun.Glob('api/application-service/*.yaml').scanSync(folder))
    for (const [, id] of (await Bun.file(join(folder, file)).text()).matchAll(
      /^ +operationId: *(\w+)$/gm,
    ))
      ids.push(id!)
  expect(ids.sort()).toEqual(askedOfAppservices)
})

const hows: Record<Row['kind'], readonly string[]> = {
  route: ['served', 'called'],
  rule: ['–'],
  version: ['–'],
  claim: ['–'],
  appservice: ['asked', '–'],
  history: ['–'],
}

test('every row is whole, and says what no other says', () => {
  expect(head).toBe(columns.join('\t'))
  for (const [index, line] of lines.entries()) {
    const { kind, what, how } = rows[index]!
    expect({ line, cells: line.split('\t').length }).toEqual({ line, cells: columns.length })
    expect(Object.keys(hows)).toContain(kind)
    expect(what).not.toBe('')
    expect(hows[kind]).toContain(how)
  }
  expect(lines.filter((line, index) => lines.indexOf(line) !== index)).toEqual([])
})

test('every test that is named is there', async () => {
  for (const { file } of rows) expect(file).toMatch(/^test\/(.*\.test|interop\/.*\.interop)\.ts$/)
  expect(await goneAmong(rows)).toEqual([])
})

import { join } from 'node:path'

/** One operation of the specification, as a row of operations.tsv. */
export type Row = {
  /** The file under src/api: the spec's folder and file, `_` as `-`, versions in one. */
  file: string
  method: string
  /** With `{name}` for parameters. */
  path: string
  operationId: string
  auth: string
  api: 'client' | 'federation'
}

const columns = ['file', 'method', 'path', 'operationId', 'auth', 'api'] as const

/** The part of an OpenAPI document that tells operations. */
export type Description = {
  servers?: { variables?: { basePath?: { default: string } } }[]
  paths: Record<string, Record<string, Operation>>
  components?: Components
}
export type Operation = {
  operationId: string
  security?: Record<string, unknown>[]
  responses: Record<string, Described>
}
type Described = { $ref?: string; content?: Record<string, { schema?: object }> }
type Components = { responses?: Record<string, Described> }

const folders = { client: 'client-server', federation: 'server-server' } as const
const methods = ['get', 'put', 'post', 'delete']

/** Where an operation is described: a document below the folder `api`, and a pointer into it. */
export type Place = {
  document: string
  path: string
  method: string
  operation: Operation
  components?: Components | undefined
}

/** Every operation that the official OpenAPI files in `folder` describe, in the order of the ledger. */
export async function describedIn(folder: string): Promise<{ row: Row; place: Place }[]> {
  const found: { row: Row; place: Place }[] = []
  for (const api of ['client', 'federation'] as const) {
    const home = join(folder, 'api', folders[api])
    for (const name of [...new Bun.Glob('*.yaml').scanSync(home)].sort()) {
      const text = await Bun.file(join(home, name)).text()
      const { servers, paths, components } = Bun.YAML.parse(text) as Description
      const basePath = servers?.[0]?.variables?.basePath?.default ?? ''
      const stem = name.replace(/(-v\d)?\.yaml$/, '').replaceAll('_', '-')
      for (const [tail, item] of Object.entries(paths))
        for (const method of methods.filter((each) => item[each])) {
          const operation = item[method]!
          // Two documents tell the same route apart by a space at its end.
          const path = (basePath.replace(/\/$/, '') + tail).trim()
          found.push({
            row: {
              file: `${folders[api]}/${stem}`,
              method: method.toUpperCase(),
              path,
              operationId: operation.operationId,
              auth: authOf(path, operation),
              api,
            },
            place: {
              document: `${folders[api]}/${name}`,
              path: tail,
              method,
              operation,
              components,
            },
          })
        }
    }
  }
  return found
}

/** Where the spec's words say otherwise than its files, which ask for… */
const slips: Readonly<Record<string, string>> = {
  // … a server's signature: "Servers MAY allow unauthenticated access to this API".
  getRoomSummary: 'userOptional',
  // … a user's token, on a route of federation.
  '/_matrix/federation/v1/timestamp_to_event/{roomId}': 'server',
}

/** Who may call, in the words of `op`. */
function authOf(path: string, { operationId, security = [] }: Operation): string {
  const slip = slips[operationId] ?? slips[path]
  if (slip) return slip
  const schemes = security.map((each) => Object.keys(each)[0] ?? 'none')
  if (schemes.length === 0) return 'none'
  if (schemes.includes('signedRequest')) return 'server'
  if (schemes.includes('appserviceAccessTokenBearer')) return 'appservice'
  // Said in words only: "The user calling this endpoint MUST be a server admin."
  if (path.startsWith('/_matrix/client/v1/admin/')) return 'admin'
  return schemes.includes('none') ? 'userOptional' : 'user'
}

/**
 * The rows of operations.tsv. A route that two files of the spec describe is a row of the first:
 * one operation answers both.
 */
export async function ledgerFrom(folder: string): Promise<Row[]> {
  const rows = new Map<string, Row>()
  for (const { row } of await describedIn(folder)) {
    const key = `${row.method} ${row.path}`
    if (!rows.has(key)) rows.set(key, row)
  }
  return [...rows.values()]
}

export const printLedger = (rows: readonly Row[]): string =>
  [columns, ...rows.map((row) => columns.map((column) => row[column]))]
    .map((cells) => `${cells.join('\t')}\n`)
    .join('')

export async function readLedger(): Promise<Row[]> {
  const text = await Bun.file(join(import.meta.dir, 'operations.tsv')).text()
  const [, ...lines] = text.trimEnd().split('\n')
  return lines.map((line) => {
    const cells = line.split('\t')
    return Object.fromEntries(columns.map((column, index) => [column, cells[index]])) as Row
  })
}

/** The operations that not-yet.txt lists, as `file operationId`. */
export async function readNotYet(): Promise<string[]> {
  const text = await Bun.file(join(import.meta.dir, 'not-yet.txt')).text()
  return text.split('\n').filter((line) => line !== '' && !line.startsWith('#'))
}

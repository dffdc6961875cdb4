import { expect, test } from 'bun:test'
import { files, ops } from '#api/index.ts'
import { type Standing, apiOf } from '#api/http/op.ts'
import { forGuests, forLocked, forSuspended } from '#test/spec/standing.ts'
import { describedIn, ledgerFrom, printLedger, readLedger, readNotYet } from '#test/spec/ledger.ts'

const ledger = await readLedger()
const notYet = await readNotYet()
const rows = new Map(ledger.map((row) => [`${row.file} ${row.operationId}`, row]))

/** Folders and files of operations that are not the spec's, or not yet. */
const ours =
  /^(admin\/|import\/|pages\/|client-server\/(batch-send|dehydrated-devices|sliding-sync)$)/
const mounted = Object.entries(files)
  .filter(([file]) => !ours.test(file))
  .flatMap(([file, exports]) =>
    Object.entries(exports).map(([name, op]) => ({ key: `${file} ${name}`, name, op })),
  )

/** Kinds of callers that the spec's files do not tell from wider ones. */
const plainly = new Map<string, string>([
  ['owner', 'user'],
  ['ownerOptional', 'userOptional'],
  ['appserviceOptional', 'none'],
])

test('an operation has the name, the method, the path and the auth that the spec gives it', () => {
  for (const { key, name, op } of mounted) {
    const row = rows.get(key)
    const path = op.path.replace(/:(\w+)/g, '{$1}')
    const { id, method } = op
    const auth = plainly.get(op.auth) ?? op.auth
    const api = apiOf(op.path)
    // The whole of it, so that a failure shows what is wrong at once.
    expect({ key, id, method, path, auth, api }).toEqual({
      key,
      id: name,
      method: row?.method,
      path: row?.path,
      auth: row?.auth,
      api: row?.api,
    } as never)
  }
})

/** What users alone do with their accounts. Spec: application-service-api/#identity-assertion */
const ofOwners = new Set(
  [
    'account-deactivation',
    'administrative-contact',
    'login-token',
    'logout',
    'password-management',
  ].map((name) => `client-server/${name}`),
)

test('application services act as their users, but for what the owner of an account alone does', () => {
  for (const { key, op } of mounted) {
    const auth = op.auth as string
    if (auth !== 'user' && auth !== 'owner') continue
    const [file] = key.split(' ')
    expect({ key, auth }).toEqual({ key, auth: ofOwners.has(file!) ? 'owner' : 'user' })
  }
})

/** What is in no version of the spec, and stands for what is. */
const isAsIn = ({ id }: { id: string }): boolean => id === 'slidingSync'

test('guests, locked and suspended users are served where the spec says so, and nowhere else', () => {
  const lists = { guest: forGuests, locked: forLocked, suspended: forSuspended }
  for (const op of ops) {
    const admits = (Object.keys(lists) as Standing[]).filter((each) => lists[each].has(op.id))
    // Whoever is nobody has no standing.
    const known = /^(user|owner)/.test(op.auth)
    const key = `${op.method} ${op.path}`
    expect({ key, admits: [...(op.admits ?? [])].sort() }).toEqual({
      key,
      admits: known && (mounted.some((each) => each.op === op) || isAsIn(op)) ? admits : [],
    })
  }
})

/** Spec: client-server-api/#user-interactive-authentication-api, at each operation. */
const proved = new Map([
  ['register', 'always'],
  ['changePassword', 'always'],
  ['deactivateAccount', 'always'],
  ['add3PID', 'always'],
  ['generateLoginToken', 'always'],
  ['deleteDevice', 'unless recent'],
  ['deleteDevices', 'unless recent'],
  ['uploadCrossSigningKeys', 'unless recent'],
])

test('callers prove who they are where the spec says so, and a recent proof does only for some', () => {
  for (const op of ops) {
    const uia = op.uia && (op.uia.grace === true ? 'unless recent' : 'always')
    expect({ id: op.id, uia }).toEqual({ id: op.id, uia: proved.get(op.id) })
  }
})

test('what is missing is listed, and what is listed is missing', () => {
  const there = new Set(mounted.map(({ key }) => key))
  expect({
    missing: [...rows.keys()].filter((key) => !there.has(key) && !notYet.includes(key)),
    forgotten: notYet.filter((key) => there.has(key)),
    unknown: notYet.filter((key) => !rows.has(key)),
    twice: notYet.filter((key, index) => notYet.indexOf(key) !== index),
  }).toEqual({ missing: [], forgotten: [], unknown: [], twice: [] })
})

test('the table of contents names each file of operations, and all that it exports', async () => {
  const scan = (pattern: string) => [
    ...new Bun.Glob(pattern).scanSync(new URL('../../src/api', import.meta.url).pathname),
  ]
  const found = scan('{client-server,server-server,admin,import,pages}/*.ts').map((name) =>
    name.slice(0, -3),
  )
  expect(Object.keys(files).sort()).toEqual(found.sort())
  for (const [file, exports] of Object.entries(files))
    expect({ ...exports }).toEqual({ ...(await import(`#api/${file}.ts`)) } as never)
})

test('no two operations answer the same request', () => {
  const routes = ops.flatMap((op) =>
    [op.path, ...(op.also ?? [])].map((path) => `${op.method} ${path.replace(/:\w+/g, ':')}`),
  )
  expect(routes.filter((route, index) => routes.indexOf(route) !== index)).toEqual([])
})

const folder = process.env['LANEWAY_SPEC']
if (folder) {
  test('the ledger is what the official files say', async () => {
    expect(printLedger(await ledgerFrom(folder))).toBe(printLedger(ledger))
  })

  test('what the spec calls limited is counted against a budget', async () => {
    const limited = (await describedIn(folder)).filter(
      ({ place }) => place.operation.responses[429],
    )
    const ids = new Set(limited.map(({ row }) => `${row.file} ${row.operationId}`))
    const free = mounted.filter(({ key, op }) => ids.has(key) && op.limit === undefined)
    expect(free.map(({ key }) => key)).toEqual([])
  })
}

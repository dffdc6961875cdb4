import { expect, test } from 'bun:test'
import { dirname, join } from 'node:path'

/**
 * The house rules that a tool can check. Each test answers the list of places that break a rule.
 */

/** What a folder may import besides itself: the table of src/README.md. The longest match counts. */
const may: Record<string, string[]> = {
  core: [],
  store: ['core'],
  'engine/worker': ['core'],
  'engine/federation': ['core', 'store', 'engine/worker', 'engine/user/protocol.ts'],
  'engine/room': ['core', 'store', 'engine/worker', 'engine/federation'],
  'engine/read': ['core', 'store', 'engine/worker', 'engine/federation/inbound-rooms.ts'],
  'engine/import': ['core', 'store', 'engine/worker'],
  'engine/modules': ['core'],
  'engine/user': ['core', 'store', 'engine/worker', 'engine/federation'],
  'engine/media': ['core', 'store', 'engine/worker', 'engine/federation'],
  'engine/push': ['core', 'store', 'engine/worker', 'engine/read'],
  'engine/appservice': ['core', 'store', 'engine/worker', 'engine/read', 'engine/live'],
  'engine/live': [
    'core',
    'store',
    'engine/worker',
    'engine/read',
    'engine/user/protocol.ts',
    'engine/user/writers/receipts.ts',
  ],
  'engine/sync': ['core', 'store', 'engine/worker', 'engine/read', 'engine/live'],
  'api/http': ['core', 'engine', 'store/db.ts'],
  'api/client-server': ['core', 'engine', 'store/user', 'store/media', 'api/http'],
  'api/server-server': [
    'core',
    'engine',
    'store/federation',
    'store/user',
    'store/room/event-id.ts',
    'api/http',
  ],
  'api/pages': ['core', 'engine', 'store/user/pushers.ts', 'api/http'],
  'api/admin': [
    'core',
    'engine',
    'store/user',
    'store/media',
    'store/federation',
    'api/http',
    'api/client-server/admin',
    'api/client-server/room',
  ],
  'api/import': [
    'core',
    'engine',
    'store/user',
    'store/import',
    'store/room/event-id.ts',
    'api/http',
  ],
  'api/index.ts': ['api'],
  metrics: ['core', 'store', 'engine', 'api/http'],
  config: ['core', 'store/startup-error.ts', 'config.ts', 'log.ts'],
}

/** Files at the root of src put the layers together, and may import anything. */
const isRoot = (file: string) => !file.includes('/')

/** Types of the root that any layer may know; importing more than types is importing upwards. */
const typesForAll = new Set(['#src/config.ts', '#src/log.ts', '#src/context.ts'])

/** Packages, likewise; `core` reaches no socket, disk or clock. */
const packages: Record<string, RegExp> = {
  core: /^(@sinclair\/typebox(\/.+)?|@noble\/ed25519|node:crypto|node:net)$/,
  store: /^(postgres|lru-cache|bun:ffi|node:(fs|path|os|zlib|crypto)(\/promises)?)$/,
  engine: /^(msgpackr|nodemailer|lru-cache|sharp|ipaddr\.js|ws|node:.*)$/,
  api: /^(elysia|@sinclair\/typebox(\/.+)?|ipaddr\.js|lru-cache|ws|node:(crypto|net)|\.\.\/\.\.\/\.\.\/package\.json)$/,
  config: /^(@sinclair\/typebox(\/.+)?|ipaddr\.js|node:fs\/promises)$/,
  metrics: /^prom-client$/,
}

/** What importers may know: each other, the rules of core, and what reads exports and draws on a terminal. */
const importersKnow =
  /^(#importers\/.+|#core\/.+|\.\/.+|bun|bun:sqlite|node:.+|@sinclair\/typebox(\/.+)?|cli-progress|commander|emojibase-data\/.+|file-type|htmlparser2|ipaddr\.js|lru-cache|markdown-it|sanitize-html|sharp|smol-toml|tar-stream|yauzl)$/

/**
 * Tables with two writers. Of the inbox, the intake on main inserts and the room commit deletes; the
 * answer to a transaction is written with its inbox rows, in one statement.
 */
const twoWriters = new Set(['inbox', 'inbound_txns'])

/** Data tables, which may be as long as their data. */
const tables = new Set<string>(['src/core/push/default-rules.ts'])

/** Where types are forgotten on purpose. */
const untyped = new Set(['src/api/http/op.ts', 'src/api/http/mount.ts'])

const forbiddenWords =
  /^(services?|managers?|helpers?|utils?|common|base|impl|dto|controllers?|repository|repositories)$/

/** Files that the spec names, and what tests them. */
const namedBySpec = /^(src|test)\/api\/server-server\/content-repository(\.test)?\.ts$/

const root = join(import.meta.dir, '..')
const scan = (pattern: string) => [...new Bun.Glob(pattern).scanSync(root)].sort()
const files = scan('{src,importers,bench,test}/**/*.ts').filter(
  (file) => !file.includes('node_modules'),
)
const text = new Map(
  await Promise.all(
    files.map(async (file) => [file, await Bun.file(join(root, file)).text()] as const),
  ),
)
const sources = files.filter((file) => file.startsWith('src/')).map((file) => file.slice(4))
const sourceOf = (file: string): string => text.get(`src/${file}`)!

type Import = { target: string; typesOnly: boolean }

const importsOf = (source: string): Import[] => [
  ...[...source.matchAll(/^(?:import|export)\s[^'"]*?from '([^']+)'/gm)].map(([line, target]) => ({
    target: target!,
    typesOnly: /^(import|export)\s+type\s/.test(line),
  })),
  ...[...source.matchAll(/^import '([^']+)'|\bimport\('([^']+)'\)/gm)].map(([, bare, dynamic]) => ({
    target: (bare ?? dynamic)!,
    typesOnly: false,
  })),
]

const within = (path: string, folder: string) => path === folder || path.startsWith(`${folder}/`)

/** Every match of a pattern in some files, as `file: match`. */
const findAll = (where: readonly string[], pattern: RegExp): string[] =>
  where.flatMap((file) =>
    [...text.get(file)!.matchAll(pattern)].map(([match]) => `${file}: ${match.trim()}`),
  )

function mayImport(file: string, { target, typesOnly }: Import): boolean {
  if (isRoot(file)) return true
  const home = Object.keys(may)
    .filter((folder) => within(file, folder))
    .sort()
    .at(-1)
  if (!home) return false
  if (target.startsWith('./')) return true
  // The one place where the release is written.
  if (/^(\.\.\/)+package\.json$/.test(target)) return true
  if (typesForAll.has(target) && (typesOnly || home === 'config')) return true
  if (!target.startsWith('#')) return packages[file.split('/')[0]!]!.test(target)
  const path = target.replace(/^#(src\/)?/, '')
  return [home, ...may[home]!].some((folder) => within(path, folder))
}

test('every file of src has a row in the table of layers, or stands at the root', () => {
  const homeless = sources.filter(
    (file) => !isRoot(file) && !Object.keys(may).some((folder) => within(file, folder)),
  )
  expect(homeless).toEqual([])
})

test('a file imports only what its folder may', () => {
  const upwards = sources.flatMap((file) =>
    importsOf(sourceOf(file))
      .filter((each) => !mayImport(file, each))
      .map(({ target }) => `${file}: ${target}`),
  )
  expect(upwards).toEqual([])
})

test('importers know the server by its API and its rules alone', () => {
  const importers = files.filter((file) => file.startsWith('importers/'))
  const odd = importers.flatMap((file) =>
    importsOf(text.get(file)!)
      .filter(({ target }) => !importersKnow.test(target))
      .map(({ target }) => `${file}: ${target}`),
  )
  expect(odd).toEqual([])
})

test('imports name a file with its extension, beside it or by its layer', () => {
  const odd = files.flatMap((file) =>
    importsOf(text.get(file)!)
      .map(({ target }) => target)
      .filter(
        (target) =>
          /^[.#]/.test(target) && (!/\.(ts|json)$/.test(target) || /^\.\.\/.*\.ts$/.test(target)),
      )
      // Tests that stand apart, with packages of their own, know the tree by paths.
      .filter(() => !file.startsWith('test/interop/'))
      .map((target) => `${file}: ${target}`),
  )
  expect(odd).toEqual([])
})

test('core has no clock, no randomness, no input and no output', () => {
  const impure =
    /\bDate\.now\b|\bnew Date\(\)|\bMath\.random\b|\bprocess\.|\bBun\.(?!SHA|CryptoHasher)\w+|\b(fetch|setTimeout|setInterval|queueMicrotask|randomBytes|randomUUID|getRandomValues)\(|\bperformance\.|\basync\b|\bawait\b|\bPromise\b|\bconsole\./g
  const core = files.filter((file) => file.startsWith('src/core/'))
  const code = new Map(core.map((file) => [file, withoutComments(text.get(file)!)]))
  const found = core.flatMap((file) =>
    [...code.get(file)!.matchAll(impure)].map(([match]) => `${file}: ${match}`),
  )
  expect(found).toEqual([])
})

const withoutComments = (source: string) =>
  source.replace(/\/\*[\s\S]*?\*\//g, '').replace(/(^|\s)\/\/.*$/gm, '$1')

test('nothing compares the numbers of room versions: it asks the table', () => {
  const code = new Map(sources.map((file) => [file, withoutComments(sourceOf(file))]))
  const compared =
    /\b\w*[vV]ersion(?:\.id|Id)?\)?\s*(?:[!=]==?|[<>]=?)\s*(?:'[\d.]+'|\d+\b)|Number\([\w.]*[vV]ersion(?:\.id|Id)?\)|case '\d{1,2}':/g
  // The versions of PostgreSQL and of our own schema are numbers.
  const others = /^(store\/migrate|store\/embedded\/.*)\.ts$/
  const found = sources
    .filter((file) => !others.test(file))
    .flatMap((file) =>
      [...code.get(file)!.matchAll(compared)].map(([match]) => `${file}: ${match}`),
    )
  expect(found).toEqual([])
})

test('a table is written by one folder of the store, and by nobody else', () => {
  const owners = new Map<string, Set<string>>()
  for (const file of sources) {
    const code = withoutComments(sourceOf(file))
    const written = code.matchAll(
      /\b(?:insert into|delete from|copy)\s+(\w+)|\bupdate\s+(?:only\s+)?(\w+)\s+(?:as\s+\w+\s+|\w+\s+)?set\b/g,
    )
    for (const [, inserted, updated] of written) {
      const table = (inserted ?? updated)!
      const owner = owners.get(table) ?? new Set()
      owners.set(table, owner.add(dirname(file)))
    }
  }
  const shared = [...owners]
    .filter(([table]) => !twoWriters.has(table))
    .filter(([, folders]) => folders.size > 1 || ![...folders][0]!.startsWith('store'))
    .map(([table, folders]) => `${table}: ${[...folders].join(', ')}`)
  expect(shared).toEqual([])
})

test('a file has at most 400 lines, and a function at most 80', () => {
  const long = files
    .filter((file) => !tables.has(file))
    .filter((file) => text.get(file)!.split('\n').length > 401)
  expect(long).toEqual([])
  const functions = /^ *(?:export )?(?:async )?function\*? (\w+)[\s\S]*?^\}/gm
  // A test may be as long as its story.
  const code = files.filter((file) => !file.startsWith('test/'))
  const longFunctions = code.flatMap((file) =>
    [...text.get(file)!.matchAll(functions)]
      .filter(([body]) => body.split('\n').length > 80)
      .map(([, name]) => `${file}: ${name}`),
  )
  expect(longFunctions).toEqual([])
})

test('nothing is exported by default, and no file hands on all of another', () => {
  expect(findAll(files, /^export default\b.*|^export \* from.*/gm)).toEqual([])
})

test('nothing is typed any but where types are forgotten on purpose', () => {
  const typed = files.filter((file) => file.startsWith('src/') && !untyped.has(file))
  const code = typed.flatMap((file) =>
    [
      ...withoutComments(text.get(file)!).matchAll(/[:<|&(,] ?any\b(?=[\s>),;[\]|&=])|\bas any\b/g),
    ].map(([match]) => `${file}: ${match}`),
  )
  expect(code).toEqual([])
})

test('file names are in kebab-case, or an event type of the spec', () => {
  const odd = files.filter(
    (file) =>
      !/^([a-z0-9]+(-[a-z0-9]+)*|m(\.[a-z0-9_]+)+)(\.(test|interop|soak|d))?\.ts$/.test(
        file.split('/').at(-1)!,
      ),
  )
  expect(odd).toEqual([])
})

test('names say what a thing is, not what pattern it follows', () => {
  const declared =
    /^(?:export )?(?:declare )?(?:abstract )?(?:async )?(?:const|let|function\*?|class|type|interface) (\w+)/gm
  const wordsOf = (name: string) => name.replace(/([a-z0-9])([A-Z])/g, '$1 $2').split(/[\s_.-]+/)
  const found = files.flatMap((file) => [
    ...wordsOf(file.split('/').at(-1)!.replace(/\.ts$/, ''))
      .filter((word) => forbiddenWords.test(word) && !namedBySpec.test(file))
      .map((word) => `${file}: ${word}`),
    ...[...text.get(file)!.matchAll(declared)]
      .filter(([, name]) => wordsOf(name!).some((word) => forbiddenWords.test(word.toLowerCase())))
      .map(([, name]) => `${file}: ${name}`),
  ])
  expect(found).toEqual([])
})

test('only main reads the environment, and a thread what the runtime takes from it', () => {
  const may = new Set(['src/main.ts', 'src/federation-worker.ts'])
  const elsewhere = files.filter((file) => file.startsWith('src/') && !may.has(file))
  expect(findAll(elsewhere, /\b(process|Bun)\.(env|argv)\b/g)).toEqual([])
})

test('nothing is left to do in the code, and no code is left in comments', () => {
  // Spelt in two halves, so that this line is not found itself.
  const marks = new RegExp(`\\b(TO${'DO'}|FIX${'ME'}|X${'XX'}|HA${'CK'})\\b.*`, 'g')
  expect(findAll(files, marks)).toEqual([])
  expect(findAll(files, /^\s*\/\/ (const|let|return|if \(|await|import) ?.*[;({]$/gm)).toEqual([])
})

test('a test waits for what it expects of a promise', () => {
  const tests = files.filter((file) => file.startsWith('test/'))
  expect(
    findAll(tests, /^( *)expect\((?:.*|\n(?:\1 .*\n)+\1)\)\.(?:rejects|resolves)\b/gm),
  ).toEqual([])
})

test('the README begins with two commands, each on a line of its own', async () => {
  const readme = await Bun.file(join(root, 'README.md')).text()
  const blocks = [...readme.matchAll(/^```\w*\n([^]*?)^```$/gm)].map(([, body]) => body!)
  const [start, check] = blocks.map((body) => body.trim())
  expect(start).toMatch(/^.+ bun run server$/)
  expect(check).toMatch(/^.+ bun run test$/)
})

test('versions of packages are exact', async () => {
  const { dependencies, devDependencies, optionalDependencies } = (await Bun.file(
    join(root, 'package.json'),
  ).json()) as Record<string, Record<string, string> | undefined>
  const all = { ...dependencies, ...devDependencies, ...optionalDependencies }
  expect(
    Object.entries(all).filter(([, version]) => !/^\d+\.\d+\.\d+(-[\w.]+)?$/.test(version)),
  ).toEqual([])
})

test('no setting of a tool stands at the top but in package.json, bunfig.toml and tsconfig.json', async () => {
  const listed = await Bun.$`git ls-files`.cwd(root).quiet().nothrow().text()
  const top = new Set(
    listed
      .split('\n')
      .filter(Boolean)
      .map((file) => file.split('/')[0]!),
  )
  const known =
    '.ci .gitignore .prettierignore LICENSE README.md bench bun.lock bunfig.toml docs importers ' +
    'package.json patches sql src test tsconfig.json'
  expect([...top].filter((name) => !known.split(' ').includes(name))).toEqual([])
})

import { afterAll, beforeAll, expect, test } from 'bun:test'
import { rm } from 'node:fs/promises'
import { Kind, type TObject, type TSchema } from '@sinclair/typebox'
import { Value } from '@sinclair/typebox/value'
import { pino } from 'pino'
import { type AnyOp, apiOf } from '#api/http/op.ts'
import { ops } from '#api/index.ts'
import { isServerName } from '#core/ids.ts'
import { isObject, type Json, type JsonObject, setKey } from '#core/json.ts'
import { hashToken } from '#engine/user/access-tokens.ts'
import { Config } from '#src/config.ts'
import { type Server, startServer } from '#src/server.ts'
import { makeCertificates } from '#test/certificates.ts'
import { Random, randomJson, randomKey, randomText } from '#test/core/random.ts'
import { openTestDatabase, type TestDatabase } from '#test/database.ts'
import { newFolder } from '#test/folder.ts'
import { Peer, type PeerRoom } from '#test/peer.ts'
import { answersChecked, checkAnswer } from '#test/spec/responses.ts'

/**
 * Every operation there is, asked by users and by another server for things that are nearly right:
 * each answer is a proper one, and none is a fault of ours.
 */
const calls = Number(process.env['LANEWAY_MALFORMED'] ?? 20)
const seed = Number(process.env['LANEWAY_SEED'] ?? 1)
const name = 'here.test'

let folder: string
let database: TestDatabase
let peer: Peer
let server: Server
let room: PeerRoom
let ids: readonly string[]
const faults: object[] = []
/** The last request that failed for another reason than what was asked. */
let failed: object | undefined

beforeAll(async () => {
  folder = await newFolder('malformed')
  const certificates = await makeCertificates(folder, ['peer.test'])
  peer = new Peer('peer.test', certificates)
  database = await openTestDatabase()
  const config = Value.Default(Config, {
    server_name: name,
    data_dir: folder,
    database: { url: database.url, main_connections: 6, worker_connections: 3 },
    workers: { rooms: 1 },
    listeners: [{ address: '127.0.0.1', port: 0, trusted_proxies: [] }],
    federation: {
      static_destinations: Object.fromEntries(
        ['peer.test', ...texts.filter(isServerName)].map((each) => [each, peer.address]),
      ),
      extra_ca: [certificates.ca],
    },
    registration: { enabled: true, dummy: true, shared_secret: 'secret' },
    passwords: { memory_kib: 8, iterations: 1 },
    rate_limits: { enabled: false },
  }) as Config
  const log = pino({ level: 'error' }, { write: note })
  server = await startServer(config, { log, version: 'test' })
  await person('alice')
  const made = await ask('POST', 'createRoom', {
    preset: 'public_chat',
    visibility: 'public',
    room_alias_name: 'den',
    room_version: '11',
  })
  const roomId = made['room_id'] as string
  room = await peer.join(origin(), name, roomId, peer.user('bob'))
  const sent = await ask('PUT', `rooms/${encodeURIComponent(roomId)}/send/m.room.message/1`, {
    body: 'hello',
  })
  const sync = await ask('GET', 'sync')
  ids = [
    roomId,
    sent['event_id'] as string,
    room.tip.eventId,
    `@alice:${name}`,
    peer.user('bob'),
    `#den:${name}`,
    name,
    'peer.test',
    sync['next_batch'] as string,
  ]
})

afterAll(async () => {
  await server?.stop()
  await peer?.stop()
  await database?.close()
  await rm(folder, { recursive: true, force: true })
})

/** Of requests that fail the status tells; whatever else the log calls an error is one. */
function note(line: string): void {
  const record = JSON.parse(line) as { msg: string }
  if (record.msg === 'a request failed') failed = record
  else faults.push(record)
}

const origin = () => `http://127.0.0.1:${server.listening[0]!.port}`

/** A user with a session; the token is their name. */
async function person(localpart: string): Promise<void> {
  const { users } = server.context
  const userId = `@${localpart}:${name}`
  await users.call('createUser', userId, { admin: true, createdAt: 1 }).catch(() => {})
  const session = { deviceId: 'D', tokenHash: hashToken(localpart), createdAt: 1 }
  await users.call('createSession', userId, session)
}

const asAlice = (method: string, body?: Json): RequestInit => ({
  method,
  headers: { authorization: 'Bearer alice' },
  ...(body !== undefined && { body: JSON.stringify(body) }),
})

async function ask(method: string, path: string, body?: Json): Promise<JsonObject> {
  const response = await fetch(`${origin()}/_matrix/client/v3/${path}`, asAlice(method, body))
  if (!response.ok) throw new Error(`${method} ${path}: ${await response.text()}`)
  return (await response.json()) as JsonObject
}

/** What often stands in requests. Each that could be a server name leads to the peer, which is none of these. */
const texts = [
  'm.room.message',
  'm.room.member',
  'm.room.power_levels',
  'm.room.canonical_alias',
  'm.login.password',
  'm.id.user',
  'join',
  'b',
  'f',
  '11',
  '12',
  'override',
  '.m.rule.master',
  'displayname',
  '{}',
  '{"limit":0}',
  '',
  '0',
  '-1',
  '99999999999999999999',
  'true',
  '!x:127.0.0.1:1',
  '!gone:peer.test',
  '$x',
  '@x',
  '#a:peer.test',
  '__proto__',
  'a'.repeat(300),
]

/** A value that a schema asks for, or nearly; now and then anything. */
function valueFor(random: Random, schema: TSchema | undefined, depth = 3): Json {
  if (random.next() < 0.08 || schema === undefined || depth === 0) return junk(random)
  switch (schema[Kind]) {
    case 'Object':
      return objectFor(random, schema as unknown as TObject, depth)
    case 'Array':
      return Array.from({ length: random.below(4) }, () =>
        valueFor(random, schema['items'] as TSchema, depth - 1),
      )
    case 'Record':
      return Object.fromEntries(
        Array.from({ length: random.below(4) }, () => [
          random.next() < 0.5 ? textFor(random) : nameless(randomKey(random)),
          valueFor(
            random,
            Object.values(schema['patternProperties'] as Record<string, TSchema>)[0],
            depth - 1,
          ),
        ]),
      )
    case 'Integer':
    case 'Number':
      return random.pick([0, 1, -1, 2 ** 31, 2 ** 53 - 1, 5])
    case 'Boolean':
      return random.next() < 0.5
    case 'Literal':
      return schema['const'] as Json
    case 'Union':
      return valueFor(random, random.pick(schema['anyOf'] as TSchema[]), depth)
    case 'String':
      return textFor(random)
    default:
      return junk(random)
  }
}

function objectFor(random: Random, schema: TObject, depth: number): JsonObject {
  const object: JsonObject = {}
  for (const [key, property] of Object.entries(schema.properties))
    if (random.next() < 0.75) setKey(object, key, valueFor(random, property, depth - 1))
  if (random.next() < 0.2) setKey(object, nameless(randomKey(random)), junk(random))
  return object
}

const textFor = (random: Random): string =>
  random.next() < 0.55
    ? random.pick(ids)
    : random.next() < 0.8
      ? random.pick(texts)
      : nameless(randomText(random))

function junk(random: Random): Json {
  const kind = random.below(4)
  if (kind === 0) return textFor(random)
  if (kind === 1) return random.pick([null, true, 0, -1, 1.5, 1e300, [], {}, [[]], { a: null }])
  if (kind === 2) return { ...room.tip.pdu, ...(namelessIn(randomJson(random, 1)) as object) }
  return namelessIn(randomJson(random, 3))
}

/** No server name: nobody shall be looked up. */
const nameless = (text: string): string => (isServerName(text) ? `${text}é` : text)

function namelessIn(json: Json): Json {
  if (typeof json === 'string') return nameless(json)
  if (Array.isArray(json)) return json.map(namelessIn)
  if (!isObject(json)) return json
  const copy: JsonObject = {}
  for (const [key, value] of Object.entries(json)) setKey(copy, nameless(key), namelessIn(value))
  return copy
}

/** What fits a place in a path by its name, more often than not. */
function paramFor(random: Random, param: string): string {
  const [roomId, sent, , alice, bob, alias] = ids
  const fitting: Record<string, string[]> = {
    roomId: [roomId!],
    roomIdOrAlias: [roomId!, alias!, '!gone:peer.test', '#gone:peer.test'],
    roomAlias: [alias!, '#gone:peer.test'],
    eventId: [sent!, room.tip.eventId],
    userId: [alice!, bob!],
  }
  const fit = fitting[param]
  // Without it, it would be the path of another operation.
  return (fit && random.next() < 0.7 ? random.pick(fit) : textFor(random)) || 'x'
}

function uriFor(random: Random, op: AnyOp): string {
  const path = op.path.replace(/:(\w+)/g, (_, param: string) =>
    encodeURIComponent(paramFor(random, param).toWellFormed()),
  )
  const properties = (op.query as TObject | undefined)?.properties ?? {}
  const query = Object.entries(properties).flatMap(([key, property]) => {
    if (random.next() < 0.3) return []
    const value = valueFor(random, property as TSchema)
    return (Array.isArray(value) ? value : [value]).map(
      (each) =>
        `${key}=${encodeURIComponent((typeof each === 'string' ? each : JSON.stringify(each)).toWellFormed())}`,
    )
  })
  // No wait is worth the time here.
  const rest = query.filter((each) => !each.startsWith('timeout=')).join('&')
  return rest ? `${path}?${rest}` : path
}

function isProper({ status, body }: { status: number; body: JsonObject }): boolean {
  if (status < 400) return typeof body === 'object'
  // A request for more authentication is no error.
  if (status === 401 && 'flows' in body) return true
  return status !== 500 && typeof body['errcode'] === 'string' && typeof body['error'] === 'string'
}

for (const op of ops)
  test(`${op.id} answers properly whatever it is asked`, async () => {
    const random = new Random(seed * 1000 + ops.indexOf(op))
    for (let n = 0; n < calls; n++) {
      const uri = uriFor(random, op)
      const body =
        op.method === 'GET' || op.body === undefined
          ? undefined
          : valueFor(random, op.body as TSchema, 4)
      const signed = apiOf(op.path) === 'federation'
      if (n % 10 === 0) await person('alice')
      const response = await (signed
        ? fetch(origin() + uri, peer.signed(name, op.method, uri, body))
        : fetch(origin() + uri, asAlice(op.method, body)))
      checkAnswer(op, response)
      const { status } = response
      // A page says what is wrong to a person.
      const isPage = response.headers.get('content-type')?.startsWith('text/html') && status < 500
      const text = await response.text()
      if (isPage) continue
      const answer = { status, body: JSON.parse(text) as JsonObject }
      const told = { op: op.id, n, uri, body, answer }
      if (!isProper(answer) || faults.length > 0)
        throw new Error(JSON.stringify({ ...told, failed, faults: faults.splice(0) }, null, 1))
    }
    await answersChecked()
    expect(faults).toEqual([])
  })

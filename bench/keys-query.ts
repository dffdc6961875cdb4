import { randomBytes } from 'node:crypto'
import type { Pool } from '#store/db.ts'
import { Keys } from '#engine/user/keys/keys.ts'
import { UserShards } from '#engine/user/owner.ts'
import type { Federation, OutgoingRequest } from '#engine/worker/protocol.ts'
import { cpuFigures, latencyFigures, openBench } from './figures.ts'
import { type Stand, withStand } from './stand.ts'
import { costOf } from './statement-cost.ts'

const help = `
What keys cost: a query for many users with some devices each, all of this server; one for users of other
servers, asked by many clients at once; one-time keys uploaded, and claimed by many at once from the same
devices. Statements and requests to other servers are counted, the CPU of server and PostgreSQL is told apart.
Without HTTP.

  bun run bench keys-query [--users 1000] [--devices 5] [--rounds 20] [--claims 5000] [--clients 50]
`

const bench = openBench(
  'keys-query',
  help,
  { users: 1000, devices: 5, rounds: 20, claims: 5000, clients: 50 },
  { users: 200, rounds: 3, claims: 200, clients: 10 },
)
const { options } = bench
const here = 'here.example'
const userId = (n: number, server = here) => `@user${n}:${server}`
const deviceId = (n: number) => `DEVICE${n}`
const algorithm = 'signed_curve25519'

async function run({ pool, postgresUs }: Stand): Promise<void> {
  const users = new UserShards(pool, { onCommit: () => {}, maxWaiting: 100_000 })
  const others = new Others()
  const keys = new Keys({
    sql: pool,
    serverName: here,
    clock: () => 1,
    users,
    federation: others.federation,
    deviceNames: true,
    onFault: (error) => console.error(error),
  })
  await makeDevices(users, postgresUs)
  await pool`analyze`
  for (const count of [1, 10, 100, options.users]) await query(pool, keys, count)
  await queryOthers(pool, keys, others)
  await claim(keys, users, postgresUs)
  const kib = process.memoryUsage.rss() / 1024
  bench.tell('afterwards', [{ name: 'memory', value: kib / 1024, unit: 'MiB' }])
  await users.close()
}

const text = (bytes: number) => randomBytes(bytes).toString('base64').replaceAll('=', '')

/** Keys of a device, as long as real ones; nobody here checks who signed them. */
function identityOf(user: string, device: string) {
  return {
    user_id: user,
    device_id: device,
    algorithms: ['m.olm.v1.curve25519-aes-sha2', 'm.megolm.v1.aes-sha2'],
    keys: { [`curve25519:${device}`]: text(32), [`ed25519:${device}`]: text(32) },
    signatures: { [user]: { [`ed25519:${device}`]: text(64) } },
  }
}

function oneTimeKeys(user: string, device: string, count: number) {
  return Array.from({ length: count }, () => ({
    algorithm,
    keyId: text(6),
    json: JSON.stringify({
      key: text(32),
      signatures: { [user]: { [`ed25519:${device}`]: text(64) } },
    }),
  }))
}

/** Time and CPU of this process and all of PostgreSQL. */
async function spend(postgresUs: Stand['postgresUs'], work: () => Promise<unknown>) {
  const [before, cpu, start] = [await postgresUs(), process.cpuUsage(), performance.now()]
  await work()
  const [ms, used] = [performance.now() - start, process.cpuUsage(cpu)]
  return { ms, server: used.user + used.system, postgres: (await postgresUs()) - before }
}

async function makeDevices(users: UserShards, postgresUs: Stand['postgresUs']): Promise<void> {
  const all = Array.from({ length: options.users * options.devices }, (_, n) => ({
    user: userId(n % options.users),
    device: deviceId(Math.floor(n / options.users)),
  }))
  await Promise.all(
    all.map(({ user, device }, n) =>
      users.call('createSession', user, {
        deviceId: device,
        tokenHash: new Uint8Array(Buffer.from(`token ${n}`.padEnd(32))),
        createdAt: 1,
      }),
    ),
  )
  const uploads = all.map(({ user, device }) => ({
    user,
    keys: {
      deviceId: device,
      deviceKeys: JSON.stringify(identityOf(user, device)),
      oneTimeKeys: oneTimeKeys(user, device, 50),
      fallbackKeys: [],
    },
  }))
  const cost = await spend(postgresUs, () =>
    Promise.all(uploads.map(({ user, keys }) => users.call('uploadKeys', user, keys))),
  )
  bench.tell(`${all.length} devices upload their keys and 50 one-time keys`, [
    { name: 'rate', value: (1000 * all.length) / cost.ms, unit: 'uploads/s' },
    ...cpuFigures([cost.server, cost.postgres], all.length),
  ])
}

async function query(sql: Pool, keys: Keys, count: number): Promise<void> {
  const viewer = { userId: userId(0), deviceId: deviceId(0) }
  const wanted = new Map(Array.from({ length: count }, (_, n) => [userId(n), [] as string[]]))
  const times: number[] = []
  let [server, postgres, statements, bytes] = [0, 0, 0, 0]
  for (let round = -2; round < options.rounds; round++) {
    const { cost, result } = await costOf(sql, async () =>
      JSON.stringify(await keys.query(viewer, wanted, 10_000)),
    )
    if (round < 0) continue
    times.push(cost.ms)
    server += cost.server / options.rounds
    postgres += cost.postgres / options.rounds
    statements += cost.statements / options.rounds
    bytes = result.length
  }
  bench.tell(`${count} local users with ${options.devices} devices each`, [
    ...latencyFigures(times),
    { name: 'statements', value: statements, unit: '' },
    { name: 'answer', value: bytes / 1024, unit: 'KiB' },
    ...cpuFigures([server, postgres], 1),
    {
      name: 'CPU per device',
      value: (server + postgres) / count / options.devices,
      unit: 'µs',
    },
  ])
}

/** Other servers, which take a while to answer; one of them never does. */
class Others {
  asked = 0
  readonly federation = {
    call: async (_method: string, request: OutgoingRequest) => {
      this.asked++
      await Bun.sleep(request.destination === 'away.example' ? request.deadlineMs! : 20)
      if (request.destination === 'away.example') return { status: 504, body: '{}' }
      const { device_keys: wanted } = JSON.parse(request.body!) as { device_keys: object }
      const devices = (user: string) =>
        Object.fromEntries(
          Array.from({ length: options.devices }, (_, n) => [
            deviceId(n),
            identityOf(user, deviceId(n)),
          ]),
        )
      const answer = Object.fromEntries(Object.keys(wanted).map((user) => [user, devices(user)]))
      return { status: 200, body: JSON.stringify({ device_keys: answer }) }
    },
    signal() {},
  } as unknown as Federation
}

async function queryOthers(sql: Pool, keys: Keys, others: Others): Promise<void> {
  const servers = [...Array.from({ length: 9 }, (_, n) => `other${n}.example`), 'away.example']
  const wanted = new Map(
    Array.from({ length: 200 }, (_, n) => [userId(n, servers[n % servers.length]), [] as string[]]),
  )
  const before = others.asked
  const { cost, result } = await costOf(sql, () =>
    Promise.all(
      Array.from({ length: options.clients }, (_, n) =>
        keys.query({ userId: userId(n), deviceId: deviceId(0) }, wanted, 1_000),
      ),
    ),
  )
  const { failures, device_keys: found } = result[0] as Record<string, object>
  bench.tell(`200 users of ${servers.length} servers, ${options.clients} clients at once`, [
    { name: 'until all are answered, 1,000 ms for one that is away', value: cost.ms, unit: 'ms' },
    { name: 'requests to servers', value: others.asked - before, unit: '' },
    { name: 'statements per query', value: cost.statements / options.clients, unit: '' },
    {
      name: 'users in each answer',
      value: Object.keys(found!).length,
      unit: '',
      target: { exactly: 180 },
    },
    {
      name: 'servers that failed',
      value: Object.keys(failures!).length,
      unit: '',
      target: { exactly: 1 },
    },
    ...cpuFigures([cost.server, cost.postgres], options.clients),
  ])
}

/** Everybody wants keys of the same few devices, until there are none. */
async function claim(
  keys: Keys,
  users: UserShards,
  postgresUs: Stand['postgresUs'],
): Promise<void> {
  const victims = 20
  const needed = Math.ceil(options.claims / victims)
  for (let n = 0; n < victims; n++)
    for (let left = needed - 50; left > 0; left -= 500)
      await users.call('uploadKeys', userId(n), {
        deviceId: deviceId(0),
        oneTimeKeys: oneTimeKeys(userId(n), deviceId(0), Math.min(left, 500)),
        fallbackKeys: [],
      })
  const times: number[] = []
  const given = new Map<string, number>()
  let next = 0
  const cost = await spend(postgresUs, () =>
    Promise.all(
      Array.from({ length: options.clients }, async () => {
        while (next < options.claims) {
          const user = userId(next++ % victims)
          const wanted = new Map([[user, new Map([[deviceId(0), algorithm]])]])
          const started = performance.now()
          const answer = await keys.claim(wanted, 10_000)
          times.push(performance.now() - started)
          const key = JSON.stringify(answer['one_time_keys'])
          given.set(key, (given.get(key) ?? 0) + 1)
        }
      }),
    ),
  )
  const twice = [...given].filter(([key, count]) => count > 1 && key !== '{}').length
  bench.tell(`${options.claims} claims of ${victims} devices, ${options.clients} at once`, [
    { name: 'rate', value: (1000 * options.claims) / cost.ms, unit: 'claims/s' },
    ...latencyFigures(times),
    { name: 'given twice', value: twice, unit: '', target: { exactly: 0 } },
    ...cpuFigures([cost.server, cost.postgres], options.claims),
  ])
}

await withStand(run, { quick: bench.short })
bench.chart('Until an answer', ['p50', 'p99'])
bench.finish()

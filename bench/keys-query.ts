import { randomBytes } from 'node:crypto'
import type { Pool } from '#store/db.ts'
import { Keys } from '#engine/user/keys/keys.ts'
import { UserShards } from '#engine/user/owner.ts'
import type { Federation, OutgoingRequest } from '#engine/worker/protocol.ts'
import { numbersOf, printBlock, quantile, type Stand, withStand } from './stand.ts'
import { costOf } from './statement-cost.ts'

const help = `
What keys cost: a query for many users with some devices each, all of this server; one for users of other
servers, asked by many clients at once; one-time keys uploaded, and claimed by many at once from the same
devices. Statements and requests to other servers are counted, the CPU of server and PostgreSQL is told apart.
Without HTTP.

  bun bench/keys-query.ts [--users 1000] [--devices 5] [--rounds 20] [--claims 5000] [--clients 50]
`

const options = numbersOf(help, { users: 1000, devices: 5, rounds: 20, claims: 5000, clients: 50 })
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
  printBlock('keys-query: afterwards', [['memory', `${(kib / 1024).toFixed(0)} MiB`]])
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
  const each = (us: number) => `${(us / all.length).toFixed(0)} µs`
  printBlock(`keys-query: ${all.length} devices upload their keys and 50 one-time keys`, [
    ['rate', `${((1000 * all.length) / cost.ms).toFixed(0)} uploads/s`],
    ['CPU per upload', `server ${each(cost.server)}, PostgreSQL ${each(cost.postgres)}`],
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
  times.sort((a, b) => a - b)
  printBlock(`keys-query: ${count} local users with ${options.devices} devices each`, [
    [
      'latency',
      `p50 ${quantile(times, 0.5).toFixed(1)} ms, p99 ${quantile(times, 0.99).toFixed(1)} ms`,
    ],
    ['statements', statements.toFixed(1)],
    ['answer', `${(bytes / 1024).toFixed(1)} KiB`],
    ['CPU', `server ${server.toFixed(0)} µs, PostgreSQL ${postgres.toFixed(0)} µs`],
    ['CPU per device', `${((server + postgres) / count / options.devices).toFixed(1)} µs`],
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
  printBlock(
    `keys-query: 200 users of ${servers.length} servers, ${options.clients} clients at once`,
    [
      [
        'until all are answered',
        `${cost.ms.toFixed(0)} ms, 1000 of them for a server that is away`,
      ],
      ['requests to servers', `${others.asked - before}`],
      ['statements per query', (cost.statements / options.clients).toFixed(1)],
      [
        'in each answer',
        `${Object.keys(found!).length} users, failed: ${Object.keys(failures!).join()}`,
      ],
      [
        'CPU per query',
        `server ${(cost.server / options.clients).toFixed(0)} µs, PostgreSQL ${(cost.postgres / options.clients).toFixed(0)} µs`,
      ],
    ],
  )
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
  times.sort((a, b) => a - b)
  const each = (us: number) => `${(us / options.claims).toFixed(0)} µs`
  const twice = [...given].filter(([key, count]) => count > 1 && key !== '{}').length
  printBlock(
    `keys-query: ${options.claims} claims of ${victims} devices, ${options.clients} at once`,
    [
      ['rate', `${((1000 * options.claims) / cost.ms).toFixed(0)} claims/s`],
      [
        'latency',
        `p50 ${quantile(times, 0.5).toFixed(1)} ms, p99 ${quantile(times, 0.99).toFixed(1)} ms`,
      ],
      ['given twice', `${twice}`],
      ['CPU per claim', `server ${each(cost.server)}, PostgreSQL ${each(cost.postgres)}`],
    ],
  )
}

await withStand(run)

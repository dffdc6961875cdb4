import { parseJson } from '#core/canonical-json.ts'
import type { Json } from '#core/json.ts'
import { Intake } from '#engine/federation/intake.ts'
import { silentLog } from '#src/log.ts'
import { type MadeUpRoom, MadeUpServer } from '#test/builders.ts'
import {
  adopt,
  alice,
  createRoom,
  joinFrom,
  openStage,
  setState,
  type Stage,
} from '#test/room-engine.ts'
import { cpuFigures, openBench } from './figures.ts'
import { quantile, type Stand, withStand } from './stand.ts'

const help = `
What it costs to take a flood of member events into one room that forks all the time: each origin
builds on its own branch, and only every so often (--merge events of each) on what the others sent, so that the room has as many forward extremities as origins, and a state in conflict.
Really signed joins of new users, leaves and rejoins, one in a hundred a kick, in a room with some
members already. From the text of a transaction to the commit, without a network.

  bun run bench member-flood [--origins 8] [--events 8000] [--members 2000] [--merge 50]
    [--kicks 1] [--txn 50] [--version 11]

Prints events per second, CPU per event of server and PostgreSQL apart, how many were kept, how many
resolutions it took, the bytes of state that each stored, and the longest time that the thread did
not let go. Where the time goes: bun --cpu-prof bench/member-flood.ts
`

const bench = openBench(
  'member-flood',
  help,
  {
    origins: 8,
    events: 8_000,
    members: 2_000,
    merge: 50,
    /** Of a hundred events, how many are kicks. */
    kicks: 1,
    txn: 50,
    version: 11,
    /** Events that are sent and not yet persisted. */
    window: 600,
  },
  { events: 400, members: 200 },
)
const { options } = bench

/** One server's branch of the room. */
class Branch {
  readonly server: MadeUpServer
  readonly room: MadeUpRoom
  readonly texts: string[] = []
  readonly #joined: string[] = []
  #users = 0
  #n = 0

  constructor(server: MadeUpServer, room: MadeUpRoom) {
    this.server = server
    this.room = room
  }

  get mod(): string {
    return this.server.user('mod')
  }

  /** One more event on top of the branch. */
  go(): void {
    const n = ++this.#n
    const { room } = this
    const made =
      n % Math.round(100 / options.kicks) === 0 && this.#joined.length > 0
        ? room.member(this.mod, this.#joined.shift()!, 'leave')
        : n % 10 === 0 && this.#joined.length > 0
          ? this.#leave()
          : this.join(`u${++this.#users}`)
    this.texts.push(made.text)
  }

  join(localpart: string) {
    const user = this.server.user(localpart)
    this.#joined.push(user)
    return this.room.member(user, user, 'join')
  }

  #leave() {
    const user = this.#joined.shift()!
    return this.room.member(user, user, 'leave')
  }

  /** Builds on what all have sent. */
  see(heads: readonly string[], others: readonly Branch[]): void {
    for (const { room } of others)
      for (const [id, made] of room.events) this.room.events.set(id, made)
    this.room.heads = [...heads]
  }
}

async function run(stand: Stand): Promise<void> {
  const servers = Array.from(
    { length: options.origins },
    (_, index) => new MadeUpServer(`origin-${index}.test`),
  )
  const database = { ...stand, close: async () => {}, [Symbol.asyncDispose]: async () => {} }
  const stage = await openStage(database, servers)
  const intake = new Intake({
    serverName: 'us.test',
    sql: stand.pool,
    log: silentLog,
    clock: Date.now,
    rooms: stage.rooms,
    takeEdus: async () => {},
    limits: { pdusPerSecond: 1e9, pdusAtOnce: 1e9, maxLagMs: Infinity },
  })
  try {
    const roomId = await createRoom(stage, String(options.version))
    for (const server of servers) await joinFrom(stage, database, roomId, server, 'mod')
    await giveLevels(stage, roomId, servers)
    const first = new Branch(servers[0]!, await adopt(database, roomId, ...servers))
    for (let n = 0; n < options.members; n++) first.texts.push(first.join(`old${n}`).text)
    await send(stage, intake, [first])
    await measure(stand, stage, intake, await branchesOf(stage, database, roomId, servers))
  } finally {
    intake.stop()
    await stage.stop()
  }
}

/** A moderator of each server. */
async function giveLevels(stage: Stage, roomId: string, servers: readonly MadeUpServer[]) {
  const users = Object.fromEntries(servers.map((server) => [server.user('mod'), 50]))
  if (options.version < 12) users[alice] = 100
  await setState(stage, roomId, 'm.room.power_levels', { users })
}

async function branchesOf(
  stage: Stage,
  database: Parameters<typeof adopt>[0],
  roomId: string,
  servers: readonly MadeUpServer[],
): Promise<Branch[]> {
  await stage.engine.parts.persister.idle()
  const branches: Branch[] = []
  for (const server of servers)
    branches.push(new Branch(server, await adopt(database, roomId, ...servers)))
  const each = Math.round(options.events / branches.length)
  for (let n = 0; n < each; n++) {
    if (n > 0 && n % options.merge === 0) {
      const heads = branches.flatMap(({ room }) => room.heads)
      for (const branch of branches) branch.see(heads, branches)
    }
    for (const branch of branches) branch.go()
    if (n % 20 === 0) for (const { room } of branches) keepHeads(room)
  }
  return branches
}

/** Only the last ones are cited again. */
function keepHeads(room: MadeUpRoom): void {
  const heads = room.heads.map((id) => [id, room.events.get(id)!] as const)
  room.events.clear()
  for (const [id, made] of heads) room.events.set(id, made)
}

/**
 * Sends all there is, each server one transaction after the other, none before what its events cite has
 * been sent; resolves when it is persisted.
 */
async function send(stage: Stage, intake: Intake, branches: readonly Branch[]): Promise<number> {
  const { engine } = stage
  const counted = () => {
    const { accepted, rejected, softFailed, dropped } = engine.parts.counters
    return accepted + rejected + softFailed + dropped
  }
  const before = counted()
  let sent = 0
  const sendSome = async ({ server, texts }: Branch, from: number, to: number) => {
    for (let at = from; at < to; at += options.txn) {
      const some = texts.slice(at, Math.min(at + options.txn, to))
      const { pdus } = parseJson(`{"pdus":[${some.join(',')}]}`) as { pdus: Json[] }
      sent += pdus.length
      const answer = await intake.take(server.name, `${before}-${at}`, { pdus, edus: [] })
      if (answer.includes('error')) throw new Error(answer)
      while (sent - (counted() - before) > options.window) await Bun.sleep(2)
    }
  }
  const each = Math.max(...branches.map(({ texts }) => texts.length))
  for (let from = 0; from < each; from += options.merge)
    await Promise.all(
      branches.map((branch) =>
        sendSome(branch, from, Math.min(from + options.merge, branch.texts.length)),
      ),
    )
  while (counted() - before < sent) await Bun.sleep(5)
  await engine.parts.persister.idle()
  return sent
}

/** How much longer than a millisecond the event loop was kept from its timers, each time. */
class Gaps {
  readonly #list: number[] = []
  readonly #timer: ReturnType<typeof setInterval>

  constructor() {
    let last = performance.now()
    this.#timer = setInterval(() => {
      const now = performance.now()
      this.#list.push(now - last)
      last = now
    }, 1)
  }

  end(): number[] {
    clearInterval(this.#timer)
    return this.#list.sort((a, b) => a - b)
  }
}

async function measure(
  stand: Stand,
  stage: Stage,
  intake: Intake,
  branches: readonly Branch[],
): Promise<void> {
  Bun.gc(true)
  const { counters } = stage.engine.parts
  const before = { ...counters }
  const bytesBefore = await snapshotBytes(stand)
  const postgresBefore = await stand.postgresUs()
  const gaps = new Gaps()
  const cpu = process.cpuUsage()
  const began = performance.now()
  const sent = await send(stage, intake, branches)
  const seconds = (performance.now() - began) / 1000
  const used = process.cpuUsage(cpu)
  const turns = gaps.end()
  const postgres = (await stand.postgresUs()) - postgresBefore
  const bytes = ((await snapshotBytes(stand)) - bytesBefore) / sent
  if (stage.errors.length > 0) throw stage.errors[0]
  const by = (name: keyof typeof counters) => counters[name] - before[name]
  const count = (name: string, counter: keyof typeof counters) => ({
    name,
    value: by(counter),
    unit: '',
  })
  bench.tell(`${options.origins} branches of a room of ${options.members}`, [
    { name: 'rate', value: sent / seconds, unit: 'PDU/s' },
    ...cpuFigures([used.user + used.system, postgres], sent),
    count('accepted', 'accepted'),
    count('soft-failed', 'softFailed'),
    count('rejected', 'rejected'),
    { ...count('dropped', 'dropped'), target: { exactly: 0 } },
    count('resolutions', 'resolutions'),
    { name: 'resolving, in all', value: by('resolutionMs'), unit: 'ms' },
    count('merges that went on from one', 'mergesFast'),
    count('merges repeated', 'mergesRepeated'),
    { name: 'stored state per PDU', value: bytes, unit: 'bytes' },
    { name: 'longest turn of the event loop', value: turns.at(-1)!, unit: 'ms' },
    { name: '99.9 % of turns are below', value: quantile(turns, 0.999), unit: 'ms' },
  ])
}

async function snapshotBytes({ pool }: Stand): Promise<number> {
  const [row] = await pool<{ bytes: number }[]>`
    select coalesce(sum(length(packed)), 0)::float as bytes from snapshots`
  return row!.bytes
}

await withStand(run, { quick: bench.short })
bench.chart('CPU of a member event', ['CPU server', 'CPU PostgreSQL'], { stacked: true })
bench.finish()

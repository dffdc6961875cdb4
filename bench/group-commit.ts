import { createHash, randomBytes, randomUUID } from 'node:crypto'
import { lookUps, openPool, type Pool } from '#store/db.ts'
import { emptyPart, type Batch, type RoomPart } from '#store/room/batch.ts'
import { commit } from '#store/room/commit.ts'
import * as inbox from '#store/room/inbox.ts'
import { takeOver, type Shard } from '#store/room/shards.ts'
import { cpuFigures, openBench } from './figures.ts'
import { processNs, type Stand, withStand } from './stand.ts'

const help = `
What a persisted event costs in the store alone: its row in the inbox, in transactions of --txn, and
its commit, in batches of --per over --rooms rooms of as many shards. Messages of 771 bytes with one
prev_event and three auth_events. CPU of the two sessions of PostgreSQL and of this process, which also
makes the batches.

  bun run bench group-commit [--per 100] [--rooms 8] [--txn 50] [--events 20000] [--rounds 3]
`

const bench = openBench(
  'group-commit',
  help,
  { per: 100, rooms: 8, txn: 50, events: 20_000, rounds: 3 },
  { events: 1_000, rounds: 1 },
)
const { options } = bench

const eventBytes = 771
/** So many are put into the inbox before they are committed. */
const ahead = 600

type Room = {
  shard: Shard
  nid: number
  roomId: string
  chain: number
  last: number
  index: number
}
type Waiting = { room: Room; inboxId: number; json: string }

async function run({ url }: Stand): Promise<void> {
  const committing = openPool(url, { max: 1, name: 'bench-commit', session: lookUps })
  const receiving = openPool(url, { max: 1, name: 'bench-inbox' })
  const shards = await takeOver(
    committing,
    Array.from({ length: options.rooms }, (_, i) => i),
    'b',
  )
  const rooms = await createRooms(committing, shards)
  const store = { committing, receiving, rooms }
  await round(store, Math.ceil(options.events / 4))
  for (let n = 0; n < options.rounds; n++) await measure(store, n + 1)
  await Promise.all([committing.end(), receiving.end()])
}

type Store = { committing: Pool; receiving: Pool; rooms: Room[] }

async function createRooms(pool: Pool, shards: readonly Shard[]): Promise<Room[]> {
  const rooms = shards.map((shard, index) => ({
    shard,
    nid: shard.nextNid(),
    chain: shard.nextNid(),
    last: 0,
    index: 0,
    roomId: `!abcdefghijklmnop${index}:origin.test`,
  }))
  const parts = rooms.map(({ shard, nid, chain, roomId }) => ({
    ...emptyPart(shard.shard, nid),
    created: { roomId, version: '11', kind: 'joined' as const, partial: false },
    snapshots: [snapshot(chain)],
    spans: [
      { orderKey: new Uint8Array([128]), chain, from: null, to: null, gap: null, hidden: false },
    ],
  }))
  await write(pool, shards, parts)
  return rooms
}

/** Numbers are a room's own; the snapshot takes that of the chain, which is another table's. */
const snapshot = (snapshotNid: number) => ({
  snapshotNid,
  baseNid: null,
  height: 0,
  entries: 10,
  hash: randomBytes(32),
  packed: randomBytes(120),
})

async function write(pool: Pool, shards: readonly Shard[], parts: RoomPart[]): Promise<void> {
  const batch: Batch = { id: randomUUID(), shards: shards.map((each) => each.advance()), parts }
  await commit(pool, batch)
  for (const shard of shards) shard.batch = batch.id
}

async function measure(store: Store, turn: number): Promise<void> {
  const sessions = [await pidOf(store.committing), await pidOf(store.receiving)]
  const before = await Promise.all(sessions.map(processNs))
  const own = await round(store, options.events)
  const after = await Promise.all(sessions.map(processNs))
  const us = (index: number) => (after[index]! - before[index]!) / 1000
  bench.tell(`commit, round ${turn}`, cpuFigures([own.commit, us(0)], options.events))
  bench.tell(`inbox, round ${turn}`, cpuFigures([own.inbox, us(1)], options.events))
}

const pidOf = async (pool: Pool) =>
  (await pool<{ pid: number }[]>`select pg_backend_pid() as pid`)[0]!.pid

/** Puts so many events into the inbox and commits them; the CPU that this process used, in µs. */
async function round({ committing, receiving, rooms }: Store, events: number) {
  const used = { inbox: 0, commit: 0 }
  for (let left = events; left > 0; left -= ahead) {
    const made = Array.from({ length: Math.min(left, ahead) }, (_, n) =>
      message(rooms[n % rooms.length]!),
    )
    const waiting: Waiting[] = []
    let began = process.cpuUsage()
    for (let from = 0; from < made.length; from += options.txn)
      waiting.push(...(await receive(receiving, made.slice(from, from + options.txn))))
    used.inbox += sumOf(process.cpuUsage(began))
    began = process.cpuUsage()
    for (let from = 0; from < waiting.length; from += options.per)
      await persist(committing, waiting.slice(from, from + options.per))
    used.commit += sumOf(process.cpuUsage(began))
  }
  return used
}

const sumOf = ({ user, system }: NodeJS.CpuUsage) => user + system

function message(room: Room): { room: Room; json: string } {
  const id = () => `$${randomBytes(32).toString('base64url')}`
  const start = `{"auth_events":["${id()}","${id()}","${id()}"],"content":{"body":"`
  const end = `","msgtype":"m.text"},"depth":12,"hashes":{"sha256":"${id()}"},"origin_server_ts":1732500000000,"prev_events":["${id()}"],"room_id":"${room.roomId}","sender":"@bob:origin.test","signatures":{"origin.test":{"ed25519:1":"${id()}${id()}"}},"type":"m.room.message"}`
  return { room, json: start + 'x'.repeat(eventBytes - start.length - end.length) + end }
}

let transactions = 0

async function receive(
  pool: Pool,
  made: readonly { room: Room; json: string }[],
): Promise<Waiting[]> {
  const rows = made.map(({ room, json }) => ({
    shard: room.shard.shard,
    roomId: room.roomId,
    json,
  }))
  const answer = JSON.stringify({ pdus: Object.fromEntries(made.map((_, n) => [`$${n}`, {}])) })
  const transaction = { origin: 'origin.test', txnId: `${transactions++}`, answer, rows }
  const [received] = await inbox.receive(pool, [transaction], Date.now())
  if (!received || !('ids' in received)) throw new Error('it came before')
  return made.map((each, index) => ({ ...each, inboxId: received.ids[index]! }))
}

async function persist(pool: Pool, waiting: readonly Waiting[]): Promise<void> {
  const parts = new Map<Room, RoomPart>()
  for (const { room, inboxId, json } of waiting) {
    let part = parts.get(room)
    if (!part) parts.set(room, (part = emptyPart(room.shard.shard, room.nid)))
    const eventNid = room.shard.nextNid()
    part.events.push({
      eventNid,
      eventId: createHash('sha256').update(json).digest(),
      typeNid: 7,
      stateKeyNid: null,
      senderNid: 3,
      depth: ++room.index,
      originServerTs: 1732500000000,
      authNids: [641, 642, 643],
      prevNids: room.last ? [room.last] : [],
      json,
      internal: null,
      rejection: null,
      claimed: false,
      chain: room.chain,
      chainIndex: room.index,
      position: room.shard.nextPosition(),
      ingest: room.shard.nextIngest(),
      flags: 0,
      snapshotNid: room.chain,
      destinationSet: null,
      pushFlags: 0,
    })
    part.extremities.added.push(eventNid)
    if (room.last) part.extremities.removed.push(room.last)
    room.last = eventNid
    part.inbox.push(inboxId)
  }
  await write(
    pool,
    Array.from(parts.keys(), ({ shard }) => shard),
    [...parts.values()],
  )
}

await withStand(run, { quick: bench.short })
bench.chart('CPU of an event in the store', ['CPU server', 'CPU PostgreSQL'], { stacked: true })
bench.finish()

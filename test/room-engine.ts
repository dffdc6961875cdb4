import { MatrixError } from '#core/error.ts'
import { toRoomEvent } from '#core/event/check.ts'
import type { Pdu, RoomEvent } from '#core/event/pdu.ts'
import { shardOf } from '#core/shard.ts'
import { RoomEngine, type EngineOptions } from '#engine/room/engine.ts'
import { planRoom, type RoomWish } from '#engine/room/local/plan-room.ts'
import { inProcess } from '#engine/worker/in-process.ts'
import type { InboxEntry, Landed, Rooms, Signal } from '#engine/worker/protocol.ts'
import { packEventId, unpackEventId } from '#store/room/event-id.ts'
import { MadeUpFederation, MadeUpRoom, MadeUpServer, versionOf } from '#test/builders.ts'
import type { TestDatabase } from '#test/database.ts'
import { patienceMs } from '#test/until.ts'

export { until } from '#test/until.ts'

/** The server under test. */
export const us = new MadeUpServer('us.test')
export const alice = us.user('alice')
export const bob = us.user('bob')

export type Stage = {
  rooms: Rooms
  engine: RoomEngine
  federation: MadeUpFederation
  signals: Signal[]
  errors: unknown[]
  drops: string[]
  fatal: Error[]
  stop: () => Promise<void>
  [Symbol.asyncDispose]: () => Promise<void>
}

/** A room engine in this thread, with all shards, and other servers that are made up. */
export async function openStage(
  database: TestDatabase,
  servers: readonly MadeUpServer[] = [],
  changes: Partial<EngineOptions> = {},
): Promise<Stage> {
  const federation = new MadeUpFederation(us, ...servers)
  const signals: Signal[] = []
  const errors: unknown[] = []
  const drops: string[] = []
  const fatal: Error[] = []
  const starting = Promise.withResolvers<RoomEngine>()
  const line = inProcess((inner) => {
    const started = RoomEngine.start({
      pool: database.pool,
      shards: Array.from({ length: 64 }, (_, shard) => shard),
      owner: 'test',
      signing: { serverName: us.name, key: us.key },
      federation: inner,
      onSignal: (signal) => signals.push(signal),
      onError: (error) => errors.push(error),
      onDrop: (_room, origin, reason) => drops.push(`${origin}: ${reason}`),
      onFatal: (error) => fatal.push(error),
      ...changes,
    })
    started.then(starting.resolve, starting.reject)
    return late(starting.promise)
  }, federation)
  const engine = await starting.promise
  const stop = async () => {
    await engine.stop()
    line.close()
  }
  const { rooms } = line
  return {
    rooms,
    engine,
    federation,
    signals,
    errors,
    drops,
    fatal,
    stop,
    [Symbol.asyncDispose]: stop,
  }
}

/** The calls of an engine that is still starting. */
function late(engine: Promise<RoomEngine>) {
  return {
    send: async (...a: Parameters<RoomEngine['send']>) => (await engine).send(...a),
    create: async (...a: Parameters<RoomEngine['create']>) => (await engine).create(...a),
    batchSend: async (...a: Parameters<RoomEngine['batchSend']>) => (await engine).batchSend(...a),
    join: async (...a: Parameters<RoomEngine['join']>) => (await engine).join(...a),
    changeMembership: async (...a: Parameters<RoomEngine['changeMembership']>) =>
      (await engine).changeMembership(...a),
    receive: async (...a: Parameters<RoomEngine['receive']>) => (await engine).receive(...a),
    makeJoin: async (...a: Parameters<RoomEngine['makeJoin']>) => (await engine).makeJoin(...a),
    makeLeave: async (...a: Parameters<RoomEngine['makeLeave']>) => (await engine).makeLeave(...a),
    knock: async (...a: Parameters<RoomEngine['knock']>) => (await engine).knock(...a),
    makeKnock: async (...a: Parameters<RoomEngine['makeKnock']>) => (await engine).makeKnock(...a),
    sendKnock: async (...a: Parameters<RoomEngine['sendKnock']>) => (await engine).sendKnock(...a),
    sendJoin: async (...a: Parameters<RoomEngine['sendJoin']>) => (await engine).sendJoin(...a),
    sendLeave: async (...a: Parameters<RoomEngine['sendLeave']>) => (await engine).sendLeave(...a),
    receiveInvite: async (...a: Parameters<RoomEngine['receiveInvite']>) =>
      (await engine).receiveInvite(...a),
    backfill: async (...a: Parameters<RoomEngine['backfill']>) => (await engine).backfill(...a),
    removeRoom: async (...a: Parameters<RoomEngine['removeRoom']>) =>
      (await engine).removeRoom(...a),
    dropRemains: async (...a: Parameters<RoomEngine['dropRemains']>) =>
      (await engine).dropRemains(...a),
    importHistory: async (...a: Parameters<RoomEngine['importHistory']>) =>
      (await engine).importHistory(...a),
  }
}

/** A room that alice has made; its ID. */
export async function createRoom(
  { rooms }: Pick<Stage, 'rooms'>,
  versionId = '12',
  wish: Partial<RoomWish> = {},
): Promise<string> {
  const plan = planRoom(
    { creator: alice, version: versionOf(versionId), preset: 'public_chat', profile: {}, ...wish },
    { serverName: us.name, key: us.key },
    Date.now(),
    crypto.getRandomValues(new Uint8Array(18)),
  )
  await rooms.call('create', plan.roomId, plan.create)
  return plan.roomId
}

export const say = (
  { rooms }: Pick<Stage, 'rooms'>,
  roomId: string,
  body: string,
  sender = alice,
) =>
  rooms.call('send', roomId, {
    sender,
    type: 'm.room.message',
    content: JSON.stringify({ msgtype: 'm.text', body }),
  })

export const setState = (
  { rooms }: Pick<Stage, 'rooms'>,
  roomId: string,
  type: string,
  content: object,
  stateKey = '',
): Promise<Landed> =>
  rooms.call('send', roomId, { sender: alice, type, stateKey, content: JSON.stringify(content) })

/** Joins a user of another server as that server would: asks for a template, signs it, hands it in. */
export async function joinFrom(
  { rooms }: Pick<Stage, 'rooms'>,
  database: TestDatabase,
  roomId: string,
  server: MadeUpServer,
  ...localparts: string[]
): Promise<MadeUpRoom> {
  let room = await adopt(database, roomId, server)
  for (const localpart of localparts) {
    const userId = server.user(localpart)
    await rooms.call('makeJoin', roomId, userId, [room.version.id], server.name)
    const { text } = room.member(userId, userId, 'join')
    await rooms.call('sendJoin', roomId, server.name, text)
    room = await adopt(database, roomId, server)
  }
  return room
}

/** A room of ours as another server sees it: its current state, and the events nobody cites yet. */
export async function adopt(
  { pool }: TestDatabase,
  roomId: string,
  ...servers: MadeUpServer[]
): Promise<MadeUpRoom> {
  const rows = await pool<{ version: string; json: string; event_id: Uint8Array; head: boolean }[]>`
    select r.version, j.json, e.event_id, x.event_nid is not null as head
    from rooms r
    join events e on e.shard = r.shard and e.room_nid = r.room_nid
    join event_json j on j.shard = e.shard and j.event_nid = e.event_nid
    left join extremities x on x.shard = e.shard and x.room_nid = e.room_nid
      and x.event_nid = e.event_nid
    left join current_state s on s.shard = r.shard and s.room_nid = r.room_nid
      and s.generation = r.generation and s.event_nid = e.event_nid
    where r.room_id = ${roomId} and (s.event_nid is not null or x.event_nid is not null)`
  const version = versionOf(rows[0]!.version)
  const events = new Map<string, RoomEvent>()
  const heads: string[] = []
  for (const row of rows) {
    const eventId = unpackEventId(row.event_id, version)
    events.set(eventId, toRoomEvent(version, JSON.parse(row.json) as Pdu, eventId, roomId))
    if (row.head) heads.push(eventId)
  }
  return new MadeUpRoom(version, us, ...servers).adopt([...events.values()], heads)
}

/** Puts PDUs into the inbox as the intake does, and tells the room; the rows' IDs. */
export async function deliver(
  { rooms }: Pick<Stage, 'rooms'>,
  database: TestDatabase,
  roomId: string,
  origin: MadeUpServer,
  texts: readonly string[],
): Promise<number[]> {
  const entries = await store(database, roomId, origin, texts)
  await rooms.call('receive', roomId, entries)
  return entries.map(({ inboxId }) => inboxId)
}

/** The same without telling the room. */
export async function store(
  { pool }: TestDatabase,
  roomId: string,
  origin: MadeUpServer,
  texts: readonly string[],
): Promise<InboxEntry[]> {
  const rows = await pool<{ inbox_id: number }[]>`
    insert into inbox (shard, room_id, origin, json, received_at)
    select ${shardOf(roomId)}, ${roomId}, ${origin.name}, json, ${Date.now()}
    from unnest(${texts as string[]}::text[]) with ordinality as t (json, place) order by place
    returning inbox_id`
  return rows.map(({ inbox_id: inboxId }, index) => ({
    inboxId,
    origin: origin.name,
    roomId,
    json: texts[index]!,
  }))
}

/** Asks until there is an answer: a worker that is away is asked again, as a client would. */
export async function insist<T>(ask: () => Promise<T>): Promise<T> {
  const givenUp = performance.now() + patienceMs
  for (;;) {
    try {
      return await ask()
    } catch (error) {
      const isAway = error instanceof MatrixError && error.status === 503
      if (!isAway || performance.now() > givenUp) throw error
      await Bun.sleep(20)
    }
  }
}

/** What a call failed with: status and code. */
export async function refusal(call: Promise<unknown>): Promise<[number, string]> {
  const error = await call.then(
    (value) => value,
    (thrown: unknown) => thrown,
  )
  const { status, errcode } = error as { status: number; errcode: string }
  return [status, errcode]
}

export const inboxIsEmpty = (database: TestDatabase, roomId: string) => async () => {
  const rows = await database.pool`
    select 1 from inbox where shard = ${shardOf(roomId)} and room_id = ${roomId} limit 1`
  return rows.length === 0
}

/** What is stored of an event. */
export async function stored({ pool }: TestDatabase, roomId: string, eventId: string) {
  const [row] = await pool<
    {
      flags: number
      position: number | null
      chain: number | null
      json: string
      reason: string | null
    }[]
  >`
    select e.flags, e.position, e.chain, j.json, x.reason
    from event_ids i
    join events e on e.shard = i.shard and e.event_nid = i.event_nid
    join event_json j on j.shard = e.shard and j.event_nid = e.event_nid
    left join rejections x on x.shard = e.shard and x.event_nid = e.event_nid
    where i.event_id = ${Buffer.from(packEventId(eventId))} and i.shard = ${shardOf(roomId)}`
  return row
}

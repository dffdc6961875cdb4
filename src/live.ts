import type { Bridges } from '#engine/appservice/bridges.ts'
import type { Edu } from '#core/event/edu.ts'
import type { Intake } from '#engine/federation/intake.ts'
import { Receipts } from '#engine/live/receipts.ts'
import { Presence } from '#engine/live/presence.ts'
import { PassingEdus } from '#engine/live/take-passing.ts'
import { tellPresence } from '#engine/live/tell-presence.ts'
import { tellTyping } from '#engine/live/tell-typing.ts'
import { Typing } from '#engine/live/typing.ts'
import type { Positions } from '#engine/read/positions.ts'
import type { Users } from '#engine/user/protocol.ts'
import type { Signal } from '#engine/worker/protocol.ts'
import type { Config } from '#src/config.ts'
import type { Log } from '#src/log.ts'
import type { Pool } from '#store/db.ts'

export type LiveParts = {
  sql: Pool
  serverName: string
  log: Log
  clock: () => number
  positions: Positions
  users: Users
  /** Rooms as the intake knows them. */
  rooms: () => Intake['rooms']
  federation: { signal(signal: Signal): void }
  started: AsyncDisposableStack
  /** Told of the same. */
  bridges: Pick<Bridges, 'typed' | 'presenceMoved'>
  /** What the operator says: whether users are shown as present, and whether other servers are told. */
  config: Pick<Config, 'presence' | 'federation'>
}

/** What passes: who types, who is there, and how far users have read. */
export async function startLive(parts: LiveParts) {
  const { sql, log, clock, positions, serverName, users, rooms, federation, started, bridges } =
    parts
  const typing = new Typing({
    serverName,
    clock,
    epoch: clock(),
    onChange: (roomNid, room) => {
      positions.nudge([roomNid], 'typing')
      bridges.typed(room)
    },
    onOwn: (...news) =>
      void tellTyping(parts, ...news).catch((error: unknown) =>
        log.warn({ err: error }, 'Other servers were not told who types'),
      ),
  })
  started.defer(() => typing.close())
  const receipts = new Receipts({
    sql,
    users,
    serverName,
    clock,
    rooms,
    sendEdu: (servers, key, edu) => federation.signal({ s: 'edu', servers, key, edu }),
    onFault: (error) => log.warn({ err: error }, 'receipts of another server were not kept'),
  })
  started.defer(() => receipts.close())
  return { typing, receipts, presence: await startPresence(parts) }
}

/** Nothing where the operator does not want it. */
async function startPresence(parts: LiveParts): Promise<Presence | undefined> {
  const { sql, log, clock, positions, serverName, config, started, bridges } = parts
  if (!config.presence.enabled) return undefined
  const presence = new Presence({
    sql,
    serverName,
    clock,
    epoch: clock(),
    onChange: (roomNids) => {
      bridges.presenceMoved()
      return positions.nudge(roomNids, 'presence')
    },
    onOwn: async (entries) => {
      if (config.federation.enabled) await tellPresence(parts, entries)
    },
    onFault: (error) => log.warn({ err: error }, 'Who is there could not be told or noted'),
  })
  await presence.start()
  positions.watchMembers((...moved) => presence.moved(...moved))
  started.defer(() => presence.close())
  return presence
}

type Live = { typing: Typing; receipts: Receipts; presence: Presence | undefined }

/** What takes in the passing news of other servers. */
export function takePassing(
  { sql, log }: Pick<LiveParts, 'sql' | 'log'>,
  { typing, receipts, presence }: Live,
  rooms: () => Intake['rooms'],
): (origin: string, edus: readonly Edu[]) => void {
  const passing = new PassingEdus({
    sql,
    typing,
    rooms: { find: (on, roomIds) => rooms().find(on, roomIds) },
    onFault: (error) => log.warn({ err: error }, 'What another server tells was not taken in'),
  })
  return (origin, edus) => {
    passing.take(origin, edus)
    receipts.take(origin, edus)
    presence?.take(edus)
  }
}

import type { Edu } from '#core/event/edu.ts'
import type { Intake } from '#engine/federation/intake.ts'
import { Receipts } from '#engine/live/receipts.ts'
import { PassingEdus } from '#engine/live/take-passing.ts'
import { tellTyping } from '#engine/live/tell-typing.ts'
import { Typing } from '#engine/live/typing.ts'
import type { Positions } from '#engine/read/positions.ts'
import type { Users } from '#engine/user/protocol.ts'
import type { Signal } from '#engine/worker/protocol.ts'
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
}

/** What passes: who types, and how far users have read. */
export function startLive(parts: LiveParts) {
  const { sql, log, clock, positions, serverName, users, rooms, federation, started } = parts
  const typing = new Typing({
    serverName,
    clock,
    epoch: clock(),
    onChange: (roomNid) => positions.nudge([roomNid]),
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
  return { typing, receipts }
}

/** What takes in the passing news of other servers. */
export function takePassing(
  { sql, log }: Pick<LiveParts, 'sql' | 'log'>,
  { typing, receipts }: { typing: Typing; receipts: Receipts },
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
  }
}

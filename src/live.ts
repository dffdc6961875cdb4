import type { Intake } from '#engine/federation/intake.ts'
import { PassingEdus } from '#engine/live/take-passing.ts'
import { tellTyping } from '#engine/live/tell-typing.ts'
import { Typing } from '#engine/live/typing.ts'
import type { Positions } from '#engine/read/positions.ts'
import type { Signal } from '#engine/worker/protocol.ts'
import type { Log } from '#src/log.ts'
import type { Pool } from '#store/db.ts'

export type LiveParts = {
  sql: Pool
  serverName: string
  log: Log
  clock: () => number
  positions: Positions
  federation: { signal(signal: Signal): void }
  started: AsyncDisposableStack
}

/** What passes and is kept in memory: who types. */
export function startLive(parts: LiveParts) {
  const { log, clock, positions, serverName, started } = parts
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
  return { typing }
}

/** What takes in the passing news of other servers. */
export const takePassing = (
  { sql, log }: Pick<LiveParts, 'sql' | 'log'>,
  { typing }: { typing: Typing },
  rooms: () => Intake['rooms'],
) =>
  new PassingEdus({
    sql,
    typing,
    rooms: { find: (on, roomIds) => rooms().find(on, roomIds) },
    onFault: (error) => log.warn({ err: error }, 'What another server tells was not taken in'),
  })

import { decodeBase64 } from '#core/base64.ts'
import { SigningKey } from '#core/signing.ts'
import { RoomEngine } from '#engine/room/engine.ts'
import { reportLanes } from '#engine/room/report-lanes.ts'
import { samplesOf } from '#engine/room/samples.ts'
import { Channel } from '#engine/worker/channel.ts'
import { forwardRooms } from '#engine/worker/forward.ts'
import type { FederationCalls, RoomWorkerCalls, RoomWorkerStart } from '#engine/worker/protocol.ts'
import { type Log, openLog } from '#src/log.ts'
import { ThreadMeter } from '#src/metrics/thread-meter.ts'
import { openServerPool } from '#src/server-pool.ts'
import { lookUps, type Pool } from '#store/db.ts'

/** A thread that owns a share of the rooms: their only writer. */
declare const self: Worker

const meter = new ThreadMeter()
let running: { engine: RoomEngine; pool: Pool; log: Log } | undefined

function engine(): RoomEngine {
  if (!running) throw new Error('The room worker was not started')
  return running.engine
}

async function start(start: RoomWorkerStart) {
  const log = openLog(start.log, start.name)
  const pool = openServerPool(start.databaseUrl, {
    max: start.connections,
    name: 'laneway-rooms',
    waitMs: start.waitMs ?? 0,
    log,
    meter: meter.statements,
    session: lookUps,
  })
  try {
    const { keyId, seed } = start.signingKey
    const key = new SigningKey(keyId.slice(keyId.indexOf(':') + 1), decodeBase64(seed)!)
    const started = await RoomEngine.start({
      pool,
      shards: start.shards,
      owner: start.owner,
      signing: { serverName: start.serverName, key },
      federation: main,
      onSignal: (signal) => main.signal(signal),
      onError: (error, what) => log.error({ err: error }, what),
      onDrop: (room, origin, reason) => log.debug({ room, origin, reason }, 'an event was dropped'),
      onThin: (room, dropped) =>
        log.warn(
          { room, dropped },
          'a room is far behind: what others cite was dropped from its inbox',
        ),
      // The pool starts another worker, which takes the shards over or learns why it cannot.
      onFatal: (error) => {
        log.fatal({ err: error }, 'this worker must not write any more')
        process.exit(1)
      },
      limits: start.limits,
      history: start.history ?? false,
    })
    running = { engine: started, pool, log }
  } catch (error) {
    await pool.end({ timeout: 1 })
    throw error
  }
  return null
}

async function stop() {
  await running?.engine.stop()
  await running?.pool.end({ timeout: 1 })
  running = undefined
  return null
}

const main = new Channel<FederationCalls, RoomWorkerCalls>(
  self,
  {
    ...forwardRooms(engine),
    start,
    stop,
    counters: async () => engine().counters(),
    measure: async () => [...samplesOf(engine()), ...meter.samples()],
    lanes: async (wanted) => reportLanes(engine(), wanted),
  },
  {
    onFault: (error, method) => running?.log.error({ err: error, method }, 'a call failed'),
  },
)

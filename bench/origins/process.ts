import { fillRoom } from './fill.ts'
import { Flood } from './flood.ts'
import { HeavyRoom } from './heavy.ts'
import { Origin } from './origin.ts'
import { OriginRoom } from './origin-room.ts'
import type { Answer, Call, OriginCalls, OriginsOptions, RoomsWish, Sent } from './protocol.ts'
import { Sending, sendTraffic } from './sending.ts'
import { sendTicks } from './ticks.ts'
import { type MadeTraffic, makeTraffic } from './traffic.ts'

// The origins of a bench, in a process of their own, so that what they use of the processor is apart.

type Methods = {
  [M in keyof OriginCalls]: (
    ...args: Parameters<OriginCalls[M]>
  ) => ReturnType<OriginCalls[M]> | Promise<ReturnType<OriginCalls[M]>>
}

const options = JSON.parse(process.argv[2]!) as OriginsOptions
const rooms = new Map<string, OriginRoom>()
const heavyRooms = new Map<string, HeavyRoom>()
const asked = new Map<string, number>()
const origins = Array.from(
  { length: options.count },
  (_, n) => new Origin(n, options, { rooms, asked }),
)
const traffics: MadeTraffic[] = []
const sendings = new Set<Sending>()
let flood: Flood | undefined

const methods: Methods = {
  rooms: (wish) => makeRooms(wish).map(({ roomId, via }) => ({ roomId, via })),
  fill: ({ roomId, ...wish }) => fillRoom(rooms.get(roomId)!, wish),
  make: (wish) => {
    const made = makeTraffic(origins, roomsOf(wish.rooms), wish)
    const steps = [...made.steps.values()].flat()
    return {
      id: traffics.push(made) - 1,
      transactions: steps.length,
      valid: Object.fromEntries(Array.from(made.valid, ([room, ids]) => [room.roomId, ids])),
      wrong: made.wrong,
    }
  },
  send: ({ traffic, perSecond }) =>
    during((sending) => sendTraffic(traffics[traffic]!, sending, perSecond)),
  halt: () => {
    for (const sending of sendings) sending.halt()
  },
  flood: (wish) => {
    flood ??= new Flood(origins, roomsOf(wish.rooms), wish)
    return during((sending) => flood!.run(sending))
  },
  acknowledged: () => {
    const ids = flood?.acknowledged ?? []
    if (flood) flood.acknowledged = []
    return ids
  },
  ticks: async (wish) => {
    const sending = new Sending()
    return sendTicks(origins, roomsOf(wish.rooms), wish, sending)
  },
  heavyRoom: (wish) => {
    const heavy = new HeavyRoom(origins[0]!, wish)
    const { roomId, via } = heavy.room
    rooms.set(roomId, heavy.room)
    heavyRooms.set(roomId, heavy)
    return { roomId, via }
  },
  heavyBranch: (roomId) => heavyRooms.get(roomId)!.branch(new Sending()),
  heavyFork: (roomId) => heavyRooms.get(roomId)!.fork(new Sending()),
  asked: () => Object.fromEntries(asked),
  spent: () => {
    const { user, system } = process.cpuUsage()
    return user + system
  },
}

function makeRooms({ count, version, speakers, from = 0 }: RoomsWish): OriginRoom[] {
  return Array.from({ length: count }, (_, n) => {
    const some = Array.from(
      { length: Math.min(speakers, origins.length) },
      (__, k) => origins[(from + n + k) % origins.length]!.server,
    )
    const room = new OriginRoom(version, some)
    rooms.set(room.roomId, room)
    return room
  })
}

const roomsOf = (ids: readonly string[]) => ids.map((id) => rooms.get(id)!)

async function during(work: (sending: Sending) => Promise<void>): Promise<Sent> {
  const sending = new Sending()
  sendings.add(sending)
  try {
    await work(sending)
    return sending.outcome()
  } finally {
    sendings.delete(sending)
  }
}

async function answer({ id, method, args }: Call): Promise<Answer> {
  try {
    const run = methods[method] as (...given: unknown[]) => unknown
    return { id, value: await run(...args) }
  } catch (error) {
    return { id, error: error instanceof Error ? (error.stack ?? error.message) : String(error) }
  }
}

process.on('message', (call: Call) => {
  void answer(call).then((said) => process.send!(said))
})
// Whoever started it is gone.
process.on('disconnect', () => process.exit(0))
process.send!({ id: 0, value: origins.map(({ name }) => name) })

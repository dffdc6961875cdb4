import type { Origin } from './origin.ts'
import type { OriginRoom } from './origin-room.ts'
import { now, type Tick, type TicksWish } from './protocol.ts'
import type { Sending } from './sending.ts'

/**
 * Says something in every room once in so many ms, at instants that are planned: the rooms one after
 * another. Each origin has one transaction in flight; what is due meanwhile goes with the next.
 */
export async function sendTicks(
  origins: readonly Origin[],
  rooms: readonly OriginRoom[],
  { seconds, everyMs }: TicksWish,
  sending: Sending,
): Promise<Tick[]> {
  const began = now()
  const ticks: Tick[] = []
  const speakers = Map.groupBy(
    rooms.map((room, place) => ({ room, offset: (place * everyMs) / rooms.length })),
    ({ room }) => origins.find(({ name }) => name === room.via)!,
  )
  const one = async (origin: Origin, own: { room: OriginRoom; offset: number }[]) => {
    const due = own
      .flatMap(({ room, offset }) =>
        Array.from({ length: Math.floor((seconds * 1000) / everyMs) }, (_, n) => ({
          room,
          at: began + offset + n * everyMs,
        })),
      )
      .sort((a, b) => a.at - b.at)
    for (let next = 0; next < due.length && !sending.isHalted;) {
      const early = due[next]!.at - now()
      if (early > 0) await sending.sleep(early)
      const end = due.findIndex(({ at }, index) => index > next && at > now())
      const some = due.slice(next, end < 0 ? undefined : end).slice(0, 50)
      next += some.length
      await deliver(origin, some, sending, ticks)
    }
  }
  await Promise.all([...speakers].map(([origin, own]) => one(origin, own)))
  return ticks
}

async function deliver(
  origin: Origin,
  some: readonly { room: OriginRoom; at: number }[],
  sending: Sending,
  ticks: Tick[],
): Promise<void> {
  const made = some.map(({ room, at }) => {
    const speaker = origin.server
    const { text, event } = room.say(speaker, room.someone(speaker, 0), `due ${at}`)
    return { roomId: room.roomId, eventId: event.eventId, due: at, text }
  })
  const ids = made.map(({ eventId }) => eventId)
  const request = origin.transaction(
    made.map(({ text }) => text),
    ids,
  )
  if (!(await sending.deliver(request))) return
  const answered = now()
  ticks.push(...made.map(({ roomId, eventId, due }) => ({ roomId, eventId, due, answered })))
}

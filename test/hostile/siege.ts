import { expect } from 'bun:test'
import type { EngineOptions } from '#engine/room/engine.ts'
import { MadeUpServer, type MadeUpRoom } from '#test/builders.ts'
import { openTestDatabase, type TestDatabase } from '#test/database.ts'
import { createRoom, deliver, joinFrom, openStage, say, type Stage } from '#test/room-engine.ts'
import { stored, until } from '#test/room-engine.ts'

/** A server that means ill, one that does not, and a user of each. */
export const evil = new MadeUpServer('evil.test')
export const good = new MadeUpServer('good.test')
export const mallory = evil.user('mallory')
export const carol = good.user('carol')

export const never = (): Promise<never> => new Promise(() => {})

export type Siege = Stage & {
  database: TestDatabase
  /** The room that mallory is in, and what her server knows of it. */
  roomId: string
  room: MadeUpRoom
  /** A quiet room of the same worker, which carol is in. */
  calmId: string
  calm: MadeUpRoom
  /** PDUs of mallory's server come into its room. */
  attack: (texts: readonly string[]) => Promise<unknown>
  /**
   * While something goes on: an event of a good server reaches another room, and local users are
   * answered in both. What is told is that it went on when all this had ended.
   */
  othersGoOn: (goesOn: () => boolean | Promise<boolean>) => Promise<void>
  /** Inbox rows of the attacked room. */
  inboxed: () => Promise<number>
}

type SiegeOptions = Partial<EngineOptions> & { version?: string; servers?: readonly MadeUpServer[] }

/** An engine, on a database of its own, with a room under attack and a quiet one. */
export async function besiege({
  version,
  servers = [],
  ...changes
}: SiegeOptions = {}): Promise<Siege> {
  const database = await openTestDatabase()
  const stage = await openStage(database, [evil, good, ...servers], changes)
  const [roomId, calmId] = [await createRoom(stage, version), await createRoom(stage)]
  const room = await joinFrom(stage, database, roomId, evil, 'mallory')
  const calm = await joinFrom(stage, database, calmId, good, 'carol')
  const othersGoOn = async (goesOn: () => boolean | Promise<boolean>) => {
    const { event, text } = calm.say(carol, 'we go on')
    await deliver(stage, database, calmId, good, [text])
    for (const each of [roomId, calmId]) {
      const { eventId } = await say(stage, each, 'so do we')
      expect(await stored(database, each, eventId)).toMatchObject({ flags: 0 })
    }
    await until(async () => (await stored(database, calmId, event.eventId)) !== undefined)
    expect(await goesOn()).toBe(true)
  }
  const inboxed = async () => {
    const [row] = await database.pool<{ count: number }[]>`
      select count(*)::int as count from inbox where room_id = ${roomId}`
    return row!.count
  }
  // What is counted from here on is the attack.
  const { counters } = stage.engine.parts
  for (const name of Object.keys(counters) as (keyof typeof counters)[]) counters[name] = 0
  const attack = (texts: readonly string[]) => deliver(stage, database, roomId, evil, texts)
  const stop = async () => {
    await stage.stop()
    await database.close()
  }
  return {
    ...stage,
    database,
    roomId,
    room,
    calmId,
    calm,
    attack,
    othersGoOn,
    inboxed,
    stop,
    [Symbol.asyncDispose]: stop,
  }
}

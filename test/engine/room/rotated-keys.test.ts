import { expect, test } from 'bun:test'
import { SigningKey } from '#core/signing.ts'
import type { KnownKey } from '#engine/worker/protocol.ts'
import { type MadeUpRoom, MadeUpServer } from '#test/builders.ts'
import { testDatabase } from '#test/database.ts'
import {
  adopt,
  createRoom,
  deliver,
  inboxIsEmpty,
  joinFrom,
  openStage,
  type Stage,
  stored,
  until,
} from '#test/room-engine.ts'
import { mallory, there } from './scene.ts'

const database = await testDatabase()

const made = 1_700_000_000_000
const rotatedAt = made + 1_000_000
/** The same server after it took another key. */
const rotated = new MadeUpServer(there.name)
Object.assign(rotated, { key: new SigningKey('second', new Uint8Array(32).fill(7)) })

const old: KnownKey = { ...there.knownKey, validUntilTs: rotatedAt, expiredTs: rotatedAt }

/** An engine that is new to that server, whose key document names the new key, and the old as one. */
async function openAfter(): Promise<Stage> {
  const stage = await openStage(database, [there])
  const { federation } = stage
  federation.call = ((method: string) => {
    if (method !== 'keys') throw new Error(`${method} is not asked for here`)
    return Promise.resolve([rotated.knownKey, old])
  }) as typeof federation.call
  return stage
}

/** A room that mallory has joined, under the old key, as mallory's server sees it now. */
async function roomBefore(version: string): Promise<{ roomId: string; room: MadeUpRoom }> {
  await using stage = await openStage(database, [there])
  const roomId = await createRoom(stage, version)
  await joinFrom(stage, database, roomId, there, 'mallory')
  return { roomId, room: await adopt(database, roomId, there) }
}

async function flagsOf(stage: Stage, roomId: string, event: { eventId: string }, text: string) {
  await deliver(stage, database, roomId, there, [text])
  await until(inboxIsEmpty(database, roomId))
  return (await stored(database, roomId, event.eventId))?.flags
}

test.each(['4', '5', '11', '12'])(
  'in version %s what a replaced key signed before that is good when it comes late, and the new key goes on',
  async (version) => {
    const { roomId, room } = await roomBefore(version)
    await using stage = await openAfter()
    const late = room.say(mallory, 'late', { ts: made })
    expect(await flagsOf(stage, roomId, late.event, late.text)).toBe(0)
    const later = room.say(mallory, 'later', { ts: rotatedAt + 1, signedBy: rotated })
    expect(await flagsOf(stage, roomId, later.event, later.text)).toBe(0)
    // And again: an older one that was held back, beside what is there.
    const older = room.say(mallory, 'older', { ts: made - 1, prev: [late.event.eventId] })
    expect(await flagsOf(stage, roomId, older.event, older.text)).toBe(0)
    expect(stage.errors).toEqual([])
  },
)

test('what a replaced key signs after it was replaced is dropped', async () => {
  const { roomId, room } = await roomBefore('11')
  await using stage = await openAfter()
  const stolen = room.say(mallory, 'stolen', { ts: rotatedAt + 1 })
  expect(await flagsOf(stage, roomId, stolen.event, stolen.text)).toBeUndefined()
  expect(stage.drops).toEqual([`${there.name}: The event is not validly signed by ${there.name}`])
})

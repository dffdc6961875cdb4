import { expect, test } from 'bun:test'
import { SigningKey } from '#core/signing.ts'
import type { KnownKey } from '#engine/worker/protocol.ts'
import { eventFlags } from '#store/room/batch.ts'
import { type Made, MadeUpServer } from '#test/builders.ts'
import { testDatabase } from '#test/database.ts'
import {
  createRoom,
  deliver,
  inboxIsEmpty,
  joinFrom,
  openStage,
  stored,
  until,
} from '#test/room-engine.ts'
import { readingOrder } from './reading-order.ts'
import { there } from './scene.ts'
import { Told } from './told.ts'

/** History and state that are fetched long after the server that signed them took another key. */
const database = await testDatabase()
const carol = there.user('carol')
const made = 1_700_000_000_000
const rotatedAt = made + 1_000_000
const rotated = new MadeUpServer(there.name)
Object.assign(rotated, { key: new SigningKey('second', new Uint8Array(32).fill(9)) })
const replaced: KnownKey = { ...there.knownKey, validUntilTs: rotatedAt, expiredTs: rotatedAt }

const idOf = ({ event }: Made) => event.eventId
const refused = { status: 403, body: { errcode: 'M_FORBIDDEN', error: 'No' } }

/**
 * Carol spoke and took a name under her server's old key, once more when it had been replaced, and
 * went on under the new one. Of all that we have the last event alone, and learn of the keys only now.
 */
async function scene(version: string, keys: readonly KnownKey[]) {
  const before = await openStage(database, [there])
  const roomId = await createRoom(before, version)
  const room = await joinFrom(before, database, roomId, there, 'carol')
  await before.stop()

  const told = new Told(room)
  const name = { membership: 'join', displayname: 'Carol' }
  const old = [
    room.say(carol, 'one'),
    room.add(carol, 'm.room.member', name, { stateKey: carol }),
    room.say(carol, 'two', { ts: rotatedAt }),
  ]
  const late = room.say(carol, 'late', { ts: rotatedAt + 1, aside: true })
  const renewed = [
    room.say(carol, 'three', { ts: rotatedAt + 2, signedBy: rotated }),
    room.say(carol, 'four', { ts: rotatedAt + 3, signedBy: rotated }),
  ]

  const limits = { attempts: 2, retryMs: 5, inboxPollMs: 5 }
  const stage = await openStage(database, [there], { limits })
  const call = stage.federation.call.bind(stage.federation) as (...all: unknown[]) => unknown
  stage.federation.call = ((method: string, ...args: unknown[]) =>
    method === 'keys' ? Promise.resolve(keys) : call(method, ...args)) as never
  stage.federation.answer = told.answer
  told.lie = ({ name: asked }, reply) => (asked === 'get_missing_events' ? refused : reply)
  const arrive = async ({ text }: Made) => {
    await deliver(stage, database, roomId, there, [text])
    await until(inboxIsEmpty(database, roomId))
  }
  const flagsOf = async (of: Made) => (await stored(database, roomId, idOf(of)))?.flags
  return { stage, roomId, room, told, old, late, renewed, arrive, flagsOf }
}

test.each(['1', '4', '5', '11', '12'])(
  'in version %s history and state that a replaced key has signed are good when they are fetched',
  async (version) => {
    const { stage, roomId, told, old, renewed, arrive, flagsOf } = await scene(version, [
      replaced,
      rotated.knownKey,
    ])
    await using _ = stage
    const last = renewed.at(-1)!
    await arrive(last)
    expect(await flagsOf(last)).toBe(0)
    // The state came at once, and carol's name with it, in a room whose history is still lacking.
    expect(told.asked('state_ids').length + told.asked('state').length).toBeGreaterThan(0)
    expect(await flagsOf(old[1]!)).toBe(eventFlags.outlier)
    expect(await flagsOf(old[0]!)).toBeUndefined()
    await stage.rooms.call('backfill', roomId, [], 100)
    expect((await readingOrder(database, roomId)).slice(-5)).toEqual([...old, ...renewed].map(idOf))
    expect(stage.errors).toEqual([])
  },
)

test('what a replaced key has signed later is no history', async () => {
  const { stage, roomId, room, late, renewed, arrive, flagsOf } = await scene('11', [
    replaced,
    rotated.knownKey,
  ])
  await using _ = stage
  const prev = [...room.heads, idOf(late)]
  const last = room.say(carol, 'five', { ts: rotatedAt + 4, signedBy: rotated, prev })
  await arrive(last)
  await stage.rooms.call('backfill', roomId, [], 100)
  expect(await flagsOf(late)).toBeUndefined()
  expect(await Promise.all([...renewed, last].map(flagsOf))).toEqual([0, 0, 0])
})

test.each([
  ['4', 0],
  ['5', undefined],
])(
  'in version %s what is younger than the time a key was good for is %p where nobody knows more',
  async (version, expected) => {
    // Its server is gone: what is known of the key is what a notary once had.
    const { stage, old, arrive, flagsOf } = await scene(version, [
      { ...there.knownKey, validUntilTs: made - 1 },
      rotated.knownKey,
    ])
    await using _ = stage
    await arrive(old[0]!)
    expect(await flagsOf(old[0]!)).toBe(expected as never)
    expect(stage.errors).toEqual([])
  },
)

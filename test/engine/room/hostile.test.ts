import { expect, test } from 'bun:test'
import type { JsonObject } from '#core/json.ts'
import { MadeUpServer } from '#test/builders.ts'
import { testDatabase } from '#test/database.ts'
import {
  createRoom,
  deliver,
  inboxIsEmpty,
  joinFrom,
  openStage,
  say,
  stored,
  until,
} from '#test/room-engine.ts'
import { mallory, there } from './scene.ts'

const database = await testDatabase()
const forger = new MadeUpServer('forger.test')

/** Delivers one PDU to a room in which its sender is joined, and tells what became of it. */
async function fate(
  version: string,
  make: (room: Awaited<ReturnType<typeof joinFrom>>) => {
    event: { eventId: string }
    text: string
  },
) {
  await using stage = await openStage(database, [there, forger])
  const roomId = await createRoom(stage, version)
  const room = await joinFrom(stage, database, roomId, there, 'mallory')
  const made = make(room)
  await deliver(stage, database, roomId, there, [made.text])
  await until(inboxIsEmpty(database, roomId))
  // Whatever it was, the room and the worker go on.
  await say(stage, roomId, 'still here')
  const row = await stored(database, roomId, made.event.eventId)
  expect(stage.errors).toEqual([])
  expect(stage.fatal).toEqual([])
  return { row, drops: stage.drops, counters: stage.engine.parts.counters }
}

/** A message of mallory's, changed after it was hashed and signed. */
const changed =
  (after: (pdu: JsonObject) => void) => (room: Awaited<ReturnType<typeof joinFrom>>) =>
    room.say(mallory, 'hello', { after, aside: true })

test('an event whose content was changed on the way is kept as its redacted copy', async () => {
  const { row, counters } = await fate(
    '12',
    changed((pdu) => {
      pdu['content'] = { msgtype: 'm.text', body: 'goodbye' }
    }),
  )
  expect(row).toMatchObject({ flags: 0 })
  expect((JSON.parse(row!.json) as JsonObject)['content']).toEqual({})
  expect(counters.redacted).toBe(1)
})

test('an event with a bad signature, or signed by another server, is dropped', async () => {
  const bad = await fate(
    '12',
    changed((pdu) => {
      pdu['signatures'] = { 'there.test': { 'ed25519:made_up': 'A'.repeat(86) } }
    }),
  )
  expect(bad.row).toBeUndefined()
  expect(bad.drops).toHaveLength(1)
  const forged = await fate('12', (room) =>
    room.say(mallory, 'not by me', { signedBy: forger, aside: true }),
  )
  expect(forged.row).toBeUndefined()
  expect(forged.drops).toHaveLength(1)
})

test('what is no event of its room version is dropped: floats, sizes, lists, NUL, other rooms', async () => {
  const cases: Record<string, (pdu: JsonObject) => void> = {
    float: (pdu) => {
      pdu['content'] = { body: 'x', level: 1.5 }
    },
    'a number beyond what is exact': (pdu) => {
      pdu['depth'] = 2 ** 60
    },
    '70 KB': (pdu) => {
      pdu['content'] = { body: 'x'.repeat(70_000) }
    },
    '10,000 auth events': (pdu) => {
      pdu['auth_events'] = Array.from(
        { length: 10_000 },
        () => (pdu['prev_events'] as string[])[0]!,
      )
    },
    'a NUL in the state key': (pdu) => {
      pdu['state_key'] = 'a\0b'
    },
    'a NUL in the type': (pdu) => {
      pdu['type'] = 'm.room\0message'
    },
    'another room': (pdu) => {
      pdu['room_id'] = `!${'A'.repeat(43)}`
    },
    'a type of 300 bytes': (pdu) => {
      pdu['type'] = 'x'.repeat(300)
    },
    'no object': (pdu) => {
      for (const key of Object.keys(pdu)) delete pdu[key]
    },
    'a sender who is none': (pdu) => {
      pdu['sender'] = 'mallory'
    },
  }
  for (const [name, change] of Object.entries(cases)) {
    const { row, drops } = await fate('12', changed(change))
    expect(row, name).toBeUndefined()
    expect(drops, name).toHaveLength(1)
  }
})

test('keys named __proto__ and constructor are kept to the byte', async () => {
  const { row } = await fate('12', (room) => {
    const content = JSON.parse(
      '{"__proto__":{"admin":true},"constructor":1,"body":"x"}',
    ) as JsonObject
    return room.add(mallory, 'm.room.message', content, { aside: true })
  })
  expect(row).toMatchObject({ flags: 0 })
  expect(row!.json).toContain('"__proto__":{"admin":true}')
  expect(({} as JsonObject)['admin']).toBeUndefined()
})

test('a NUL inside of content is no harm', async () => {
  const { row } = await fate('12', (room) => room.say(mallory, 'a\0b', { aside: true }))
  expect((JSON.parse(row!.json) as { content: JsonObject }).content['body']).toBe('a\0b')
})

test('an event that lies about its auth events is rejected', async () => {
  const { row } = await fate('11', (room) => {
    const [create] = [...room.events.values()].filter(({ event }) => event.type === 'm.room.create')
    return room.say(mallory, 'x', { auth: [create!.event.eventId], aside: true })
  })
  expect(row).toMatchObject({ flags: 1, position: null })
  const twice = await fate('12', (room) => {
    const own = [...room.state.values()].find(
      ({ type, stateKey }) => type === 'm.room.member' && stateKey === mallory,
    )!
    return room.say(mallory, 'x', { auth: [own.eventId, own.eventId], aside: true })
  })
  expect(twice.row).toMatchObject({ flags: 1 })
})

test('a depth that lies does no harm, and an event of ours on top of it is a good one', async () => {
  const { row } = await fate('12', (room) =>
    room.say(mallory, 'deep', { depth: Number.MAX_SAFE_INTEGER }),
  )
  expect(row).toMatchObject({ flags: 0 })
})

test('a hostile transaction delays no other lane', async () => {
  await using stage = await openStage(database, [there, forger])
  const [attacked, other] = [await createRoom(stage), await createRoom(stage)]
  const room = await joinFrom(stage, database, attacked, there, 'mallory')
  const calm = await joinFrom(stage, database, other, there, 'mallory')
  const texts = Array.from({ length: 200 }, (_, i) =>
    i % 2 === 0
      ? room.say(mallory, 'x', { signedBy: forger, aside: true }).text
      : '['.repeat(50_000),
  )
  const one = calm.say(mallory, 'one')
  await deliver(stage, database, attacked, there, texts)
  await deliver(stage, database, other, there, [one.text])
  await until(async () => (await stored(database, other, one.event.eventId)) !== undefined)
  await until(inboxIsEmpty(database, attacked))
  expect(stage.drops).toHaveLength(200)
  expect(stage.errors).toEqual([])
})

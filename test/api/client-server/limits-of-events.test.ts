import { afterAll, beforeAll, describe, expect, test } from 'bun:test'
import { testDatabase } from '#test/database.ts'
import { RawBody } from './front.ts'
import { Living } from './living.ts'

/** What a client may put into an event. Spec: client-server-api/#size-limits, rooms/v6/#canonical-json */
const db = await testDatabase()
let home: Living
beforeAll(async () => {
  home = await Living.open(db.pool)
})
afterAll(() => home.close())

const alice = '@alice:here.example'
let count = 0

async function makeRoom(version: string): Promise<string> {
  const { body } = await home.post('/createRoom', alice, { room_version: version })
  return `/rooms/${encodeURIComponent(body['room_id'] as string)}`
}

const answerTo = async (asked: Promise<{ status: number; body: Record<string, unknown> }>) => {
  const { status, body } = await asked
  return status === 200 ? 200 : [status, body['errcode']]
}
const put = (room: string, rest: string, body: object) =>
  answerTo(home.put(`${room}/${rest}`, alice, body))
const say = (room: string, text: string) =>
  put(room, `send/m.room.message/${++count}`, new RawBody(text))

describe.each(['1', '5', '6', '11', '12'])('in a room of version %s', (version) => {
  let room: string
  beforeAll(async () => {
    room = await makeRoom(version)
  })

  test('an event of more than 65,536 bytes is too large', async () => {
    const tooLarge = [413, 'M_TOO_LARGE']
    expect(await say(room, `{"body":"${'x'.repeat(64_000)}"}`)).toBe(200)
    expect(await say(room, `{"body":"${'x'.repeat(65_536)}"}`)).toEqual(tooLarge)
    // Bytes, not characters.
    expect(await say(room, `{"body":"${'é'.repeat(33_000)}"}`)).toEqual(tooLarge)
    expect(await put(room, 'state/m.room.topic/', { topic: 'x'.repeat(65_536) })).toEqual(tooLarge)
  })

  test('a type or a state key has 255 bytes and no NUL', async () => {
    const invalid = [400, 'M_INVALID_PARAM']
    const long = 'x'.repeat(256)
    expect(await put(room, `send/${long}/${++count}`, {})).toEqual(invalid)
    expect(await put(room, `state/org.example/${long}`, {})).toEqual(invalid)
    expect(await put(room, `state/org.example/${'é'.repeat(128)}`, {})).toEqual(invalid)
    expect(await put(room, `state/org.example/${'x'.repeat(255)}`, {})).toBe(200)
    expect(await put(room, 'state/org.example/a%00b', {})).toEqual(invalid)
  })

  test('floats and numbers beyond 2^53 are taken up to version 5 only, half characters nowhere', async () => {
    const taken = version === '1' || version === '5' ? 200 : [400, 'M_BAD_JSON']
    for (const number of ['1.5', '1e3', '9007199254740993', '-9007199254740992'])
      expect({ number, answer: await say(room, `{"n":${number}}`) }).toEqual({
        number,
        answer: taken,
      })
    expect(await say(room, '{"n":9007199254740991,"m":-9007199254740991,"o":-0}')).toBe(200)
    expect(await say(room, '{"body":"a\\u0000b"}')).toBe(200)
  })
})

test('a room cannot begin with what its version does not take', async () => {
  const make = (wish: object) => answerTo(home.post('/createRoom', alice, wish))
  const note = { note: 'x'.repeat(70_000) }
  expect(await make({ creation_content: note })).toEqual([413, 'M_TOO_LARGE'])
  expect(await make({ creation_content: { half: 0.5 } })).toEqual([400, 'M_BAD_JSON'])
  expect(await make({ room_version: '5', creation_content: { half: 0.5 } })).toBe(200)
  const initial_state = [{ type: 'org.example', content: { half: 0.5 } }]
  expect(await make({ initial_state })).toEqual([400, 'M_BAD_JSON'])
})

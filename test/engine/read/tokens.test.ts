import { describe, expect, test } from 'bun:test'
import { decodeToken, encodeToken } from '#engine/read/sync-token.ts'
import { decodePlace, encodePlace } from '#engine/read/timeline-token.ts'
import { newVector } from '#engine/read/vector.ts'

describe('a sync token', () => {
  test('holds both vectors, also of positions beyond 32 bits', () => {
    const vector = newVector()
    vector.rooms.set([1, 127, 128, 2 ** 32, 2 ** 53 - 1, 0, 0, 5])
    vector.users[63] = 7
    const read = decodeToken(encodeToken(vector))
    expect(read.rooms).toEqual(vector.rooms)
    expect(read.users).toEqual(vector.users)
  })

  test('is short where there is little to say, and never long', () => {
    expect(encodeToken(newVector()).length).toBeLessThan(12)
    const busy = newVector()
    busy.rooms.fill(2_000_000)
    busy.users.fill(2_000_000)
    expect(encodeToken(busy).length).toBeLessThan(530)
    busy.rooms.fill(2 ** 53 - 1)
    busy.users.fill(2 ** 53 - 1)
    expect(decodeToken(encodeToken(busy)).users[63]).toBe(2 ** 53 - 1)
  })

  test('says how far to-device messages were told, if that is not all', () => {
    const token = { ...newVector(), toDevice: 2 ** 40 }
    expect(decodeToken(encodeToken(token))).toEqual(token)
    expect(decodeToken(encodeToken(newVector()))).not.toHaveProperty('toDevice')
  })

  test('says what was told of who types', () => {
    const typing = { epoch: 1_700_000_000_000, at: 12, rooms: [2 ** 52, 7] }
    const token = { ...newVector(), toDevice: 3, typing }
    expect(decodeToken(encodeToken(token))).toEqual(token)
  })

  const whole = encodeToken(newVector())
  test.each([
    ['nothing', ''],
    ['the token of another server', 's72594_4483_1934'],
    ['a timeline token', encodePlace({ chain: 64, index: 1, side: 'after' })],
    ['half a token', whole.slice(0, -2)],
    ['a token and more', `${whole}AAAA`],
    ['a part twice', `s${Buffer.from([1, 0, 64, 0, 64, 1, 5, 1, 5]).toString('base64url')}`],
    ['half a part', `s${Buffer.from([1, 0, 64, 0, 64, 1]).toString('base64url')}`],
    ['half of who types', `s${Buffer.from([1, 0, 64, 0, 64, 2, 5, 1]).toString('base64url')}`],
    [
      'more who type than fit',
      `s${Buffer.from([1, 0, 64, 0, 64, 2, 5, 1, 17, ...Array<number>(17).fill(9)]).toString('base64url')}`,
    ],
    ['a part that is unknown', `s${Buffer.from([1, 0, 64, 0, 64, 99, 5]).toString('base64url')}`],
    ['another format', `s${Buffer.from([2, 0, 64, 0, 64]).toString('base64url')}`],
    ['a run beyond the shards', `s${Buffer.from([1, 0, 65, 0, 64]).toString('base64url')}`],
    ['a run of none', `s${Buffer.from([1, 0, 0, 0, 64]).toString('base64url')}`],
    [
      'a number that is not safe',
      `s${Buffer.from([1, ...Array(8).fill(255)]).toString('base64url')}`,
    ],
    ['a very long text', `s${'A'.repeat(100_000)}`],
  ])('is refused if it is %s', (_what, token) => {
    expect(() => decodeToken(token)).toThrow(
      expect.objectContaining({ errcode: 'M_INVALID_PARAM' }),
    )
  })

  test('a random vector comes back as it was', () => {
    for (let round = 0; round < 200; round++) {
      const vector = newVector()
      for (const positions of [vector.rooms, vector.users])
        for (let shard = 0; shard < 64; shard++)
          if (Math.random() < 0.5) positions[shard] = Math.floor(2 ** (Math.random() * 53))
      expect(decodeToken(encodeToken(vector))).toEqual(vector)
    }
  })
})

describe('a timeline token', () => {
  test.each([0, 1, -1, 2 ** 31 - 2, -(2 ** 31) + 2])('holds index %d', (index) => {
    for (const side of ['before', 'after'] as const)
      expect(decodePlace(encodePlace({ chain: 2 ** 50, index, side }))).toEqual({
        chain: 2 ** 50,
        index,
        side,
      })
  })

  test.each(['', 't', 's', 't!', 'tAAAA', `t${'A'.repeat(50)}`, encodeToken(newVector())])(
    'is refused if it is %p',
    (token) => {
      expect(() => decodePlace(token)).toThrow(
        expect.objectContaining({ errcode: 'M_INVALID_PARAM' }),
      )
    },
  )
})

import { describe, expect, test } from 'bun:test'
import { Nonces } from '#engine/user/nonces.ts'
import { Passwords } from '#engine/user/passwords.ts'

const cheap = { memoryKib: 8, iterations: 1 }

describe('passwords', () => {
  test('are stored as argon2id of the given cost, each with a salt of its own', async () => {
    const passwords = new Passwords({ memoryKib: 64, iterations: 3 })
    const [one, two] = await Promise.all([passwords.hash('secret'), passwords.hash('secret')])
    expect(one).toStartWith('$argon2id$')
    expect(one).toContain('m=64,t=3')
    expect(one).not.toBe(two)
    expect(await passwords.verify('secret', one)).toBe(true)
    expect(await passwords.verify('Secret', one)).toBe(false)
  })

  test('of nobody are never right, not even the empty one', async () => {
    const passwords = new Passwords(cheap)
    expect(await passwords.verify('secret', undefined)).toBe(false)
    expect(await passwords.verify('secret', null)).toBe(false)
    expect(await passwords.verify('', undefined)).toBe(false)
    expect(await passwords.verify('', await passwords.hash('secret'))).toBe(false)
  })

  test('are checked a few at a time, all of them in the end, and too many are refused', async () => {
    const passwords = new Passwords(cheap)
    const hash = await passwords.hash('secret')
    const results = await Promise.allSettled(
      Array.from({ length: 250 }, (_, i) => passwords.verify(i % 2 ? 'secret' : 'other', hash)),
    )
    const refused = results.filter(({ status }) => status === 'rejected')
    expect(refused).toHaveLength(250 - 202)
    expect(refused[0]).toMatchObject({ reason: { status: 503 } })
    const right = results.filter((each) => each.status === 'fulfilled' && each.value)
    expect(right).toHaveLength(101)
    expect(await passwords.verify('secret', hash)).toBe(true)
  })
})

describe('nonces', () => {
  test('are good once, and for a minute', () => {
    let now = 0
    const nonces = new Nonces(() => now)
    const [one, two] = [nonces.make(), nonces.make()]
    expect(one).not.toBe(two)
    expect(nonces.take(one)).toBe(true)
    expect(nonces.take(one)).toBe(false)
    expect(nonces.take('made up')).toBe(false)
    now += 60_000
    expect(nonces.take(two)).toBe(false)
  })

  test('are bounded: the oldest is given up', () => {
    const nonces = new Nonces(() => 0, 2)
    const [one, two, three] = [nonces.make(), nonces.make(), nonces.make()]
    expect([nonces.take(one), nonces.take(two), nonces.take(three)]).toEqual([false, true, true])
  })
})

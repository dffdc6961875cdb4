import { expect, test } from 'bun:test'
import { Hold } from '#engine/room/hold.ts'

test('who asks while it is held waits until it ends, and not for the next', async () => {
  const hold = new Hold()
  expect(hold.ended).toBeUndefined()
  hold.start(60_000)
  const first = hold.ended
  // It is held already: this changes nothing.
  hold.start(60_000)
  expect(hold.ended).toBe(first!)
  hold.end()
  hold.start(60_000)
  await first
  expect(hold.on).toBe(true)
  hold.end()
  expect([hold.on, hold.ended]).toEqual([false, undefined])
})

test('it runs out by itself, and ending it then does nothing', async () => {
  const hold = new Hold()
  hold.start(1)
  await hold.ended
  expect(hold.on).toBe(false)
  hold.end()
})

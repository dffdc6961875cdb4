import { expect, test } from 'bun:test'
import { Yielding } from '#engine/room/import/yielding.ts'

/** A worker whose time goes on only when somebody says so. */
function worker() {
  let now = 10_000
  const pauses: number[] = []
  const yielding = new Yielding({
    clock: () => now,
    sleep: async (ms) => {
      pauses.push(ms)
      now += ms
    },
  })
  const pass = (ms: number) => void (now += ms)
  /** Somebody sends something that takes so long. */
  const send = (ms: number) => yielding.watch(async () => pass(ms))
  /** A piece of so many ms, in which `within` is done; how many records it may have. */
  const piece = async (ms: number, within: () => Promise<void> = async () => {}) => {
    let most = 0
    await yielding.run(async (least) => {
      most = least
      await within()
      pass(ms)
      return { flying: undefined }
    })
    return most
  }
  /** What sends take that have the worker to themselves. */
  const learn = async (ms: number) => {
    for (let n = 0; n < 20; n++) {
      pass(50)
      await send(ms)
    }
  }
  return { yielding, pauses, pass, send, piece, learn }
}

test('as long as nobody sends anything an import makes large pieces without a pause, several at once', async () => {
  const { yielding, pauses, pass, piece } = worker()
  expect(await piece(10)).toBe(500)
  // The next is made while the transaction of one is under way.
  const flying = Promise.withResolvers<void>()
  await yielding.run(async () => ({ flying: flying.promise }))
  expect(await piece(10)).toBe(500)
  flying.resolve()
  pass(5_000)
  expect(await piece(10)).toBe(500)
  expect(pauses).toEqual([])
})

test('beside somebody who sends, pieces are small and wait for each other, transactions included', async () => {
  const { yielding, learn, piece, send } = worker()
  await learn(4)
  const flying = Promise.withResolvers<void>()
  const first = yielding.run(async () => ({ flying: flying.promise }))
  let isMade = false
  const second = piece(10).then((most) => {
    isMade = true
    return most
  })
  await send(4)
  for (let n = 0; n < 20; n++) await Promise.resolve()
  expect(isMade).toBe(false)
  flying.resolve()
  await first
  expect(await second).toBe(200)
})

test('a pause grows with what sends take beside an import, up to an end, and goes with it', async () => {
  const { yielding, pauses, piece, learn, send } = worker()
  await learn(4)
  expect(yielding.aloneMs).toBe(4)
  const slow = () => send(20)
  await piece(1, slow)
  expect(yielding.pauseMs).toBe(4)
  for (let n = 0; n < 10; n++) await piece(1, slow)
  expect(yielding.pauseMs).toBe(250)
  expect(pauses.slice(0, 4)).toEqual([4, 8, 16, 32])
  expect(yielding.pausedMs).toBe(pauses.reduce((sum, ms) => sum + ms, 0))
  // What takes no longer than half as much again is no reason.
  for (let n = 0; n < 700; n++) await piece(1, () => send(6))
  expect(yielding.pauseMs).toBe(0)
})

test('before it is known what a send takes there are pauses in which that shows', async () => {
  const { yielding, pauses, piece, pass, send } = worker()
  await send(4)
  for (let n = 0; n < 10; n++) {
    await piece(1, () => send(50))
    // In the pause that follows.
    pass(10)
    await send(4)
  }
  expect(pauses.slice(0, 3)).toEqual([100, 100, 100])
  expect(yielding.aloneMs).toBe(4)
  // And again, when that was long ago.
  const before = pauses.length
  for (let n = 0; n < 100; n++) await piece(200, () => send(5))
  expect(pauses.slice(before)).toContain(100)
})

test('a piece that fails holds up no other', async () => {
  const { yielding, learn, piece } = worker()
  await learn(4)
  const failing = yielding.run(async () => {
    throw new Error('no piece')
  })
  const told = await failing.then(
    () => 'nothing',
    (error: Error) => error.message,
  )
  expect(told).toBe('no piece')
  expect(await piece(1)).toBe(200)
  const lost = Promise.reject(new Error('no transaction'))
  await yielding.run(async () => ({ flying: lost }))
  expect(await piece(1)).toBe(200)
})

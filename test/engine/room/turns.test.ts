import { expect, test } from 'bun:test'
import { type Task, steps, wait } from '#engine/room/task.ts'
import { Turns } from '#engine/room/turns.ts'

/** The time of these tests: it passes when a chore takes some of it. */
let now = 0
const clock = () => now

function* chore(name: string, pieces: number, ms: number, log: string[]): Task<string> {
  for (let piece = 0; piece < pieces; piece++) {
    now += ms
    log.push(name)
    yield
  }
  return name
}

test('a lane with endless work does not hold back one with little', async () => {
  const turns = new Turns({ quantumMs: 1, sliceMs: 2, clock })
  const log: string[] = []
  const long = turns.seat(false).run(chore('long', 200, 0.5, log))
  const short = turns.seat(false).run(chore('short', 4, 0.5, log))
  expect(await short).toBe('short')
  expect(log.length).toBeLessThan(100)
  expect(await long).toBe('long')
})

test('lanes get equal time, not equal numbers of steps', async () => {
  const turns = new Turns({ quantumMs: 1, sliceMs: 3, clock })
  const log: string[] = []
  const heavy = turns.seat(false)
  const light = turns.seat(false)
  const both = [heavy.run(chore('heavy', 40, 2, log)), light.run(chore('light', 400, 0.2, log))]
  await Promise.race(both)
  // Whichever ended first, the other had about as much time.
  expect(heavy.spentMs / light.spentMs).toBeGreaterThan(0.5)
  expect(heavy.spentMs / light.spentMs).toBeLessThan(2)
  await Promise.all(both)
})

test('what a local user waits for goes before the rest, and the rest still goes on', async () => {
  const turns = new Turns({ quantumMs: 1, sliceMs: 2, clock })
  const log: string[] = []
  const inbound = Array.from({ length: 20 }, () =>
    turns.seat(false).run(chore('inbound', 10, 0.5, log)),
  )
  await Bun.sleep(1)
  const before = log.length
  const ahead = turns.seat(true)
  await ahead.run(chore('local', 4, 0.5, log))
  const during = log.slice(before)
  expect(during.filter((name) => name === 'inbound').length).toBeLessThan(12)
  const busy = ahead.run(chore('local', 100, 0.5, log))
  await busy
  expect(log.filter((name) => name === 'inbound').length).toBeGreaterThan(during.length)
  await Promise.all(inbound)
})

test('a task that waits lets the others of its own lane go on', async () => {
  const turns = new Turns()
  const seat = turns.seat(false)
  const gate = Promise.withResolvers<number>()
  const waits = seat.run(
    (function* (): Task<number> {
      return (yield* wait(gate.promise)) + 1
    })(),
  )
  expect(await seat.run(chore('other', 2, 0, []))).toBe('other')
  gate.resolve(41)
  expect(await waits).toBe(42)
  expect(turns.active).toBe(0)
})

test('it is told when all lanes rest, also those that wait', async () => {
  const seen: string[] = []
  const turns: Turns = new Turns({ onRest: () => seen.push(`rest ${turns.isBusy}`) })
  const gate = Promise.withResolvers<void>()
  const both = [
    turns.seat(false).run(chore('chore', 5, 0, [])),
    turns.seat(false).run(wait(gate.promise)),
  ]
  expect(turns.isBusy).toBe(true)
  await both[0]
  await Bun.sleep(1)
  expect(seen).toEqual(['rest false'])
  gate.resolve()
  await both[1]
  await Bun.sleep(1)
  expect(seen).toEqual(['rest false', 'rest false'])
})

test('what a task throws, or what it waited for, is thrown where the task was given', async () => {
  const seat = new Turns().seat(false)
  const caught = await seat
    .run(
      (function* (): Task<null> {
        yield* wait(Promise.reject(new RangeError('lost')))
        return null
      })(),
    )
    .catch((error: unknown) => error)
  expect(caught).toBeInstanceOf(RangeError)
  const recovered = seat.run(
    (function* (): Task<string> {
      try {
        yield* wait(Promise.reject(new RangeError('lost')))
      } catch {
        return 'recovered'
      }
      return 'not reached'
    })(),
  )
  expect(await recovered).toBe('recovered')
})

test('steps of the core are taken one by one', async () => {
  const seat = new Turns().seat(false)
  function* counting(): Generator<undefined, number, undefined> {
    yield
    yield
    return 7
  }
  expect(await seat.run(steps(counting()))).toBe(7)
})

test('a lane that overspends a turn waits until the others had as much', async () => {
  const turns = new Turns({ quantumMs: 1, sliceMs: 50, clock })
  const log: string[] = []
  const hog = turns.seat(false)
  const other = turns.seat(false)
  await Promise.all([hog.run(chore('hog', 2, 10, log)), other.run(chore('other', 30, 0.5, log))])
  const second = log.lastIndexOf('hog')
  expect(log.slice(0, second).filter((name) => name === 'other').length).toBeGreaterThanOrEqual(15)
})

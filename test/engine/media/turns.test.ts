import { expect, test } from 'bun:test'
import { MatrixError } from '#core/error.ts'
import { Turns } from '#engine/media/turns.ts'

test('so many run at once, so many wait in order, and more are refused', async () => {
  const turns = new Turns(2, 2)
  const begun: number[] = []
  const ends = Array.from({ length: 4 }, () => Promise.withResolvers<void>())
  const works = ends.map((end, index) =>
    turns.run(async () => {
      begun.push(index)
      await end.promise
    }),
  )
  const refused = await turns.run(async () => {}).catch((error: unknown) => error)
  expect(refused).toBeInstanceOf(MatrixError)
  expect(begun).toEqual([0, 1])
  ends[1]!.resolve()
  await works[1]
  await Promise.resolve()
  expect(begun).toEqual([0, 1, 2])
  for (const end of ends) end.resolve()
  await Promise.all(works)
  expect(begun).toEqual([0, 1, 2, 3])
})

test('work that fails gives its turn to the next', async () => {
  const turns = new Turns(1, 1)
  const fails = turns.run(async () => {
    throw new Error('no')
  })
  const next = turns.run(async () => 'done')
  expect(await fails.catch((error: unknown) => String(error))).toBe('Error: no')
  expect(await next).toBe('done')
})

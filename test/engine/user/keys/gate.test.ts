import { expect, test } from 'bun:test'
import { Gate } from '#engine/user/keys/gate.ts'

const deferred = () => Promise.withResolvers<void>()

test('so many tasks of a key run at once, the others in their order, and other keys apart', async () => {
  const gate = new Gate(2, 10)
  const ends = Array.from({ length: 4 }, deferred)
  const begun: number[] = []
  const tasks = ends.map(({ promise }, n) =>
    gate.run('a', async () => {
      begun.push(n)
      await promise
      return n
    }),
  )
  expect(await gate.run('b', async () => 'other')).toBe('other')
  expect(begun).toEqual([0, 1])
  ends[1]!.resolve()
  await tasks[1]
  await Bun.sleep(0)
  expect(begun).toEqual([0, 1, 2])
  for (const { resolve } of ends) resolve()
  expect(await Promise.all(tasks)).toEqual([0, 1, 2, 3])
})

test('a task that fails leaves its place, and more than may wait are refused', async () => {
  const gate = new Gate(1, 1)
  const end = deferred()
  const first = gate.run('a', async () => {
    await end.promise
    throw new Error('failed')
  })
  const second = gate.run('a', async () => 'second')
  const third = gate.run('a', async () => 'third')
  await expect(third).rejects.toMatchObject({ errcode: 'M_LIMIT_EXCEEDED' })
  end.resolve()
  await expect(first).rejects.toThrow('failed')
  expect(await second).toBe('second')
  expect(await gate.run('a', async () => 'later')).toBe('later')
})

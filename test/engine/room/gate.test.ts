import { expect, test } from 'bun:test'
import { Gate } from '#engine/room/gate.ts'

test('so many are let in at once, fewer of one key, and each leaves room for the next', async () => {
  const gate = new Gate({ total: 3, perKey: 2 })
  const inside: string[] = []
  const leave = new Map<string, () => void>()
  const enter = (key: string, name: string) =>
    gate.run(key, async () => {
      inside.push(name)
      await new Promise<void>((resolve) => leave.set(name, resolve))
    })
  const all = [
    enter('a', 'a1'),
    enter('a', 'a2'),
    enter('a', 'a3'),
    enter('b', 'b1'),
    enter('b', 'b2'),
  ]
  await Bun.sleep(0)
  expect(inside).toEqual(['a1', 'a2', 'b1'])
  leave.get('b1')!()
  await Bun.sleep(0)
  expect(inside.slice(3)).toEqual(['b2'])
  leave.get('a1')!()
  await Bun.sleep(0)
  expect(inside.slice(4)).toEqual(['a3'])
  for (const name of ['a2', 'a3', 'b2']) leave.get(name)!()
  await Promise.all(all)
})

test('who fails leaves room, too', async () => {
  const gate = new Gate({ total: 1, perKey: 1 })
  const failing = gate.run('a', () => Promise.reject(new Error('no')))
  const next = gate.run('a', () => Promise.resolve(1))
  await expect(failing).rejects.toThrow('no')
  expect(await next).toBe(1)
})

import { describe, expect, test } from 'bun:test'
import { MatrixError } from '#core/error.ts'
import { InTurn, Steps } from '#engine/room/import/steps.ts'

const steps = (importSteps = 2, importStepsWaiting = 3) =>
  new Steps({ importSteps, importStepsWaiting })

/** Steps that end when they are told to, and which of them have begun. */
function script(of: Steps) {
  const begun: string[] = []
  const ends = new Map<string, PromiseWithResolvers<string>>()
  const take = (roomId: string, name: string) => {
    const end = Promise.withResolvers<string>()
    ends.set(name, end)
    return of.take(roomId, () => {
      begun.push(name)
      return end.promise
    })
  }
  const end = async (name: string) => {
    ends.get(name)!.resolve(name)
    await Bun.sleep(0)
  }
  return { begun, take, end, fail: (name: string, why: Error) => ends.get(name)!.reject(why) }
}

const refusal = async (taken: Promise<unknown>) => {
  const error = await taken.then(
    () => undefined,
    (thrown: unknown) => thrown,
  )
  return error instanceof MatrixError ? [error.status, error.errcode] : error
}

describe('steps of imports', () => {
  test('of one room come one after the other, and hold up none of another room', async () => {
    const { begun, take, end } = script(steps())
    const slow = take('a', 'a0')
    const next = take('a', 'a1')
    const other = take('b', 'b0')
    await Bun.sleep(0)
    expect(begun).toEqual(['a0', 'b0'])
    await end('b0')
    expect(await other).toBe('b0')
    const more = take('b', 'b1')
    await Bun.sleep(0)
    expect(begun).toEqual(['a0', 'b0', 'b1'])
    await end('a0')
    expect(begun).toEqual(['a0', 'b0', 'b1', 'a1'])
    await Promise.all([end('a1'), end('b1')])
    expect(await Promise.all([slow, next, more])).toEqual(['a0', 'a1', 'b1'])
  })

  test('begin in so many rooms at once, the others wait, and beyond that are told to come again', async () => {
    const of = steps()
    const { begun, take, end } = script(of)
    const all = [
      take('a', 'a0'),
      take('b', 'b0'),
      take('a', 'a1'),
      take('c', 'c0'),
      take('d', 'd0'),
    ]
    await Bun.sleep(0)
    expect(begun).toEqual(['a0', 'b0'])
    expect(await refusal(take('e', 'e0'))).toEqual([429, 'M_LIMIT_EXCEEDED'])
    const removal = of.between('a', async () => 'removed')
    // What waits for its own room lets those behind it pass.
    await end('b0')
    expect(begun).toEqual(['a0', 'b0', 'c0'])
    for (const name of ['a0', 'c0', 'a1', 'd0']) await end(name)
    expect(await Promise.all(all)).toEqual(['a0', 'b0', 'a1', 'c0', 'd0'])
    // What may not be refused waits for its turn, too.
    expect(await removal).toBe('removed')
  })

  test('that fail make room like others', async () => {
    const { begun, take, end, fail } = script(steps())
    const failing = take('a', 'a0')
    const next = take('a', 'a1')
    await Bun.sleep(0)
    fail('a0', new Error('no'))
    expect(await refusal(failing)).toEqual(new Error('no'))
    await end('a1')
    expect(await next).toBe('a1')
    expect(begun).toEqual(['a0', 'a1'])
  })

  test('that wait are refused when the server stops, which those that have begun are waited for', async () => {
    const all = steps()
    const { take, end } = script(all)
    const begun = take('a', 'a0')
    const waiting = refusal(take('a', 'a1'))
    await Bun.sleep(0)
    let stopped = false
    const stopping = all.stop().then(() => (stopped = true))
    expect(await waiting).toEqual([503, 'M_UNKNOWN'])
    expect(all.isStopping).toBe(true)
    expect(stopped).toBe(false)
    await end('a0')
    await stopping
    expect(await begun).toBe('a0')
    expect(await refusal(take('b', 'b0'))).toEqual([503, 'M_UNKNOWN'])
  })
})

test('what is done in turn is done one after the other, whatever fails', async () => {
  const turn = new InTurn()
  const done: number[] = []
  const first = turn.run(async () => {
    await Bun.sleep(5)
    done.push(1)
    throw new Error('no')
  })
  const second = turn.run(async () => done.push(2))
  expect(await refusal(first)).toEqual(new Error('no'))
  expect(await second).toBe(2)
  expect(done).toEqual([1, 2])
})

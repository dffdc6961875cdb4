import { describe, expect, test } from 'bun:test'
import { RemoteError } from '#core/error.ts'
import { Budget, type BudgetOptions } from '#engine/federation/budget.ts'

const never = new AbortController().signal
const budgetOf = (changed: Partial<BudgetOptions> = {}) =>
  new Budget({ perServer: 2, waitingPerServer: 3, total: 8, waitingTotal: 100, ...changed })

/** Asks for turns; what it answers grows as they begin. */
function ask(budget: Budget, server: string, count: number, doubtful = false, signal = never) {
  const begun: (() => void)[] = []
  const refused: unknown[] = []
  for (let each = 0; each < count; each++)
    budget.acquire(server, doubtful, signal).then(
      (release) => begun.push(release),
      (error: unknown) => refused.push(error),
    )
  return { begun, refused }
}
const settle = () => Bun.sleep(0)

describe('a budget', () => {
  test('lets few requests to one server begin, and the next when one ends', async () => {
    const budget = budgetOf()
    const { begun } = ask(budget, 'a', 4)
    await settle()
    expect(begun).toHaveLength(2)
    begun[0]!()
    // Giving back twice gives back once.
    begun[0]!()
    await settle()
    expect(begun).toHaveLength(3)
    expect([budget.inFlight, budget.waiting]).toEqual([2, 1])
  })

  test('refuses what would wait too long', async () => {
    const { begun, refused } = ask(budgetOf(), 'a', 7)
    await settle()
    expect(begun).toHaveLength(2)
    expect(refused).toHaveLength(2)
    expect(refused[0]).toBeInstanceOf(RemoteError)
    expect((refused[0] as RemoteError).errcode).toBe('laneway.busy')
  })

  test('refuses when too many wait for all servers', async () => {
    const budget = budgetOf({ total: 1, waitingTotal: 2 })
    const asked = ['a', 'b', 'c', 'd'].map((server) => ask(budget, server, 1))
    await settle()
    expect(asked.map(({ refused }) => refused.length)).toEqual([0, 0, 0, 1])
  })

  test('gives servers turns, however many requests one of them has waiting', async () => {
    const budget = budgetOf({ perServer: 8, waitingPerServer: 50, total: 2 })
    const many = ask(budget, 'a', 20)
    const one = ask(budget, 'b', 1)
    await settle()
    expect(one.begun).toHaveLength(0)
    many.begun[0]!()
    await settle()
    many.begun[1]!()
    await settle()
    expect(one.begun).toHaveLength(1)
  })

  test('leaves half of all requests to servers that are not doubted', async () => {
    const budget = budgetOf()
    const doubted = ['a', 'b', 'c', 'd', 'e'].map((server) => ask(budget, server, 2, true))
    await settle()
    expect(doubted.flatMap(({ begun }) => begun)).toHaveLength(4)
    const living = ask(budget, 'x', 2)
    await settle()
    expect(living.begun).toHaveLength(2)
  })

  test('keeps a part for servers that are not known yet', async () => {
    const budget = budgetOf()
    const living = ['a', 'b', 'c', 'd', 'e'].map((server) => ask(budget, server, 2))
    await settle()
    expect(living.flatMap(({ begun }) => begun)).toHaveLength(7)
    const unknown = ask(budget, 'x', 1, true)
    await settle()
    expect(unknown.begun).toHaveLength(1)
  })

  test('forgets who gives up waiting', async () => {
    const budget = budgetOf()
    const ended = new AbortController()
    const first = ask(budget, 'a', 2)
    const waiting = ask(budget, 'a', 2, false, ended.signal)
    await settle()
    ended.abort(new Error('over'))
    await settle()
    expect(waiting.refused).toHaveLength(2)
    expect(budget.waiting).toBe(0)
    for (const release of first.begun) release()
    expect(budget.inFlight).toBe(0)
    const again = ask(budget, 'a', 2, true)
    await settle()
    expect(again.begun).toHaveLength(2)
  })
})

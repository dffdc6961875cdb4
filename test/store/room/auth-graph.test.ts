import { describe, expect, test } from 'bun:test'
import { authDifference } from '#core/state-res/auth-difference.ts'
import { run } from '#core/state-res/steps.ts'
import { conflictedSubgraph } from '#core/state-res/subgraph.ts'
import { testDatabase } from '#test/database.ts'
import { AuthGraph } from '#store/room/auth-graph.ts'
import { read } from '#store/room/auth-graphs.ts'
import { NidIndex } from '#store/room/nid-index.ts'
import { Owner } from './fixtures.ts'
import { random } from './random.ts'

const sorted = (numbers: Iterable<number>) => [...new Set(numbers)].sort((a, b) => a - b)

/** A random graph, deep or broad, and what its events cite. */
function graphOf(seed: number, size: number) {
  const draw = random(seed)
  const reach = 1 + draw(size)
  const nidOf = (order: number) => 64 * ((order * 7919) % 100_003) + 5
  const auth = new Map<number, number[]>()
  const graph = new AuthGraph()
  for (let order = 0; order < size; order++) {
    const parents = sorted(
      Array.from({ length: draw(5) }, () => order - 1 - draw(Math.min(reach, order || 1))),
    ).filter((parent) => parent >= 0)
    graph.append([{ eventNid: nidOf(order), order, parents }])
    auth.set(nidOf(order), parents.map(nidOf))
  }
  const some = (count: number) => Array.from({ length: count }, () => nidOf(draw(size)))
  return { graph, draw, some, authOf: (nid: number) => auth.get(nid) ?? [] }
}

describe('an auth graph', () => {
  test('finds the auth difference that a walk finds', () => {
    for (let seed = 1; seed <= 400; seed++) {
      const { graph, draw, some, authOf } = graphOf(seed, 1 + (seed % 90))
      // Now and then more states than one pass takes, and events that are not in the graph.
      const states = seed % 40 === 0 ? 35 : 2 + draw(4)
      const strange = () => (draw(10) ? [] : [7, 64 * 7].slice(draw(2)))
      const perState = Array.from({ length: states }, () =>
        sorted([...some(draw(6)), ...strange()]),
      )
      const shared = some(draw(8)).filter((nid) => !perState.some((state) => state.includes(nid)))
      const conflicts = { candidates: new Map(), perState }
      const expected = run(authDifference(conflicts, shared, authOf))
      expect(sorted(run(graph.difference(perState, shared)))).toEqual(sorted(expected))
    }
  })

  test('finds what lies between conflicted events, as a walk does', () => {
    for (let seed = 1; seed <= 300; seed++) {
      const { graph, draw, some, authOf } = graphOf(seed, 1 + (seed % 120))
      const conflicted = sorted([...some(draw(7)), ...(draw(5) ? [] : [3])])
      const expected = run(conflictedSubgraph(conflicted, authOf))
      expect(sorted(run(graph.subgraph(conflicted)))).toEqual(sorted(expected))
    }
  })

  test('finds the same before an event is in it, by what that cites', () => {
    for (let seed = 1; seed <= 300; seed++) {
      const { graph, draw, some, authOf } = graphOf(seed, 1 + (seed % 120))
      const own = 11
      const cited = sorted(some(1 + draw(4)))
      const withOwn = (nid: number) => (nid === own ? cited : authOf(nid))
      const conflicted = [own, ...sorted(some(draw(7)))]
      expect(sorted(run(graph.subgraph(conflicted, cited)))).toEqual(
        sorted(run(conflictedSubgraph(conflicted, withOwn))),
      )
      const states = [[own, ...some(draw(4))], some(1 + draw(4)), some(draw(3))].map(sorted)
      const perState = states.map((events) =>
        events.includes(own) ? [...events, ...cited] : events,
      )
      expect(sorted(run(graph.difference(perState, [])))).toEqual(
        sorted(run(authDifference({ candidates: new Map(), perState: states }, [], withOwn))),
      )
    }
  })

  test('lists whole chains, what is cited first', () => {
    for (let seed = 1; seed <= 200; seed++) {
      const { graph, draw, some, authOf } = graphOf(seed, 1 + (seed % 80))
      const events = sorted(some(1 + draw(4)))
      const chain = new Set<number>()
      const open = events.flatMap(authOf)
      for (let nid = open.pop(); nid !== undefined; nid = open.pop()) {
        if (chain.has(nid)) continue
        chain.add(nid)
        open.push(...authOf(nid))
      }
      const listed = run(graph.chain(events, false))
      expect(sorted(listed)).toEqual(sorted(chain))
      const place = new Map(listed.map((nid, index) => [nid, index]))
      for (const nid of listed)
        for (const cited of authOf(nid)) expect(place.get(cited)!).toBeLessThan(place.get(nid)!)
      expect(sorted(run(graph.chain(events, true)))).toEqual(sorted([...chain, ...events]))
    }
  })

  test('takes the next number only, and an old one for nothing', () => {
    const graph = new AuthGraph()
    graph.append([{ eventNid: 10, order: 0, parents: [] }])
    graph.append([{ eventNid: 11, order: 0, parents: [] }])
    expect(graph.has(11)).toBeFalse()
    expect(() => graph.append([{ eventNid: 12, order: 2, parents: [] }])).toThrow()
    expect(graph.orderOf(10)).toBe(0)
  })

  test('yields in a large room', () => {
    const graph = new AuthGraph()
    for (let order = 0; order < 50_000; order++)
      graph.append([{ eventNid: order + 1, order, parents: order ? [0, order - 1] : [] }])
    let yields = 0
    const steps = graph.difference([[50_000], [1]], [2])
    while (!steps.next().done) yields++
    expect(yields).toBeGreaterThan(4)
  })
})

describe('stored', () => {
  test('a graph is read back whole', async () => {
    const sql = (await testDb).pool
    const owner = await Owner.of(sql, [6])
    for (const size of [0, 1, 5000]) {
      const part = owner.room(6)
      for (let order = 0; order < size; order++)
        part.auth.push({
          eventNid: owner.shard(6).nextNid(),
          order,
          parents: order ? [0, Math.floor(order / 2)] : [],
        })
      await owner.commit(part)
      const graph = await read(sql, 6, part.roomNid)
      expect(graph.length).toBe(size)
      for (const { eventNid, order } of part.auth) expect(graph.orderOf(eventNid)).toBe(order)
      if (size === 5000) {
        const chain = run(graph.chain([part.auth[4999]!.eventNid], true))
        expect(chain.map((nid) => graph.orderOf(nid))).toEqual([
          0, 1, 2, 4, 9, 19, 39, 78, 156, 312, 624, 1249, 2499, 4999,
        ])
      }
    }
  })
})

test('an index of numbers behaves as a map does', () => {
  const draw = random(5)
  const model = new Map<number, number>()
  const index = new NidIndex()
  for (let step = 0; step < 5000; step++) {
    const nid = 1 + draw(2 ** 30) * 2 ** draw(20)
    index.set(nid, step)
    model.set(nid, step)
  }
  for (const [nid, value] of model) expect(index.get(nid)).toBe(value)
  for (let step = 0; step < 1000; step++) {
    const nid = 1 + draw(2 ** 31)
    expect(index.get(nid)).toBe(model.get(nid) ?? -1)
  }
})

const testDb = testDatabase()

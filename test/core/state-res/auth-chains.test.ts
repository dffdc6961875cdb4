import { describe, expect, test } from 'bun:test'
import { authDifference } from '#core/state-res/auth-difference.ts'
import { run } from '#core/state-res/steps.ts'
import { conflictedSubgraph } from '#core/state-res/subgraph.ts'
import { Random } from '#test/differential/random.ts'

type Graph = readonly (readonly number[])[]

const sorted = (numbers: Iterable<number>) => [...numbers].sort((a, b) => a - b)

const difference = (graph: Graph, unconflicted: number[], ...perState: number[][]) =>
  sorted(
    run(authDifference({ candidates: new Map(), perState }, unconflicted, (nid) => graph[nid]!)),
  )

const subgraph = (graph: Graph, ...conflicted: number[]) =>
  sorted(run(conflictedSubgraph(conflicted, (nid) => graph[nid]!)))

/** All that an event leads to, and itself: by the definition. */
function chain(graph: Graph, event: number): Set<number> {
  return new Set([event, ...graph[event]!.flatMap((auth) => [...chain(graph, auth)])])
}

function randomGraph(random: Random, size: number): Graph {
  return Array.from({ length: size }, (_, event) =>
    Array.from({ length: Math.min(event, random.below(4)) }, () => random.below(event)),
  )
}

/** 0 ← 1 ← 2 ← 3, and 1 ← 4 ← 5. */
const fork: Graph = [[], [0], [1], [2], [1], [4]]

describe('the auth difference', () => {
  test('is what some states rest on, and not all', () => {
    expect(difference(fork, [0], [3], [5])).toEqual([2, 3, 4, 5])
    expect(difference(fork, [0], [3], [])).toEqual([1, 2, 3])
    expect(difference(fork, [2], [3], [4])).toEqual([3, 4])
    expect(difference(fork, [3], [], [])).toEqual([])
  })

  test('is that of the definition, in random graphs', () => {
    for (let seed = 0; seed < 300; seed++) {
      const random = new Random(seed)
      const graph = randomGraph(random, 14)
      const some = () => Array.from({ length: random.below(4) }, () => random.below(14))
      const shared = some()
      const states = Array.from({ length: 2 + random.below(3) }, some)
      const chains = states.map(
        (state) => new Set([...shared, ...state].flatMap((event) => [...chain(graph, event)])),
      )
      const all = new Set(chains.flatMap((set) => [...set]))
      const expected = [...all].filter((event) => !chains.every((set) => set.has(event)))
      expect(difference(graph, shared, ...states)).toEqual(sorted(expected))
    }
  })
})

describe('the conflicted subgraph', () => {
  test('is what lies between conflicted events, and these', () => {
    expect(subgraph(fork, 3, 1)).toEqual([1, 2, 3])
    expect(subgraph(fork, 3, 5)).toEqual([3, 5])
    expect(subgraph(fork, 3, 5, 0)).toEqual([0, 1, 2, 3, 4, 5])
    expect(subgraph(fork)).toEqual([])
  })

  test('is that of the definition, in random graphs', () => {
    for (let seed = 0; seed < 300; seed++) {
      const random = new Random(seed)
      const graph = randomGraph(random, 14)
      const ends = new Set(Array.from({ length: 1 + random.below(4) }, () => random.below(14)))
      const below = new Set([...ends].flatMap((event) => [...chain(graph, event)]))
      const expected = [...below].filter((event) =>
        [...chain(graph, event)].some((reached) => ends.has(reached)),
      )
      expect(subgraph(graph, ...ends)).toEqual(sorted(expected))
    }
  })
})

test('a chain of a hundred thousand events is walked without depth, and in turns', () => {
  const length = 100_000
  const graph = Array.from({ length }, (_, event) => (event === 0 ? [] : [event - 1]))
  const authOf = (nid: number) => graph[nid]!
  for (const steps of [
    authDifference({ candidates: new Map(), perState: [[length - 1], []] }, [0], authOf),
    conflictedSubgraph([0, length - 1], authOf),
  ]) {
    let turns = 0
    let next = steps.next()
    for (; next.done !== true; next = steps.next()) turns++
    expect(next.value.length).toBeGreaterThanOrEqual(length - 1)
    expect(turns).toBeGreaterThanOrEqual(90)
  }
})

import type { Steps } from '#core/state-res/steps.ts'
import { AuthGraph } from '#store/room/auth-graph.ts'
import { openBench } from './figures.ts'
import { stepThrough } from './stepping.ts'

const help = `
Questions to the auth graph of a room of 50,000 members that has seen 200,000 state events: processor
time of the whole question, and of the longest step between two yields. Median of eleven rounds.

  bun run bench auth-graph [--members 50000] [--later 150000]
`

const bench = openBench(
  'auth-graph',
  help,
  { members: 50_000, later: 150_000 },
  { members: 5_000, later: 15_000 },
)
const { members, later } = bench.options

const graph = new AuthGraph()
const nidOf = (order: number) => 64 * (order + 1)
const last = new Int32Array(members)
let levels = 1
let rules = 2
const add = (parents: number[]) => {
  const order = graph.length
  graph.append([{ eventNid: nidOf(order), order, parents }])
  return order
}
add([])
add([0])
add([0, 1])
for (let member = 0; member < members; member++) last[member] = add([0, levels, rules])
for (let step = 0; step < later; step++) {
  if (step % 500 === 0) levels = add([0, levels, last[0]!])
  else if (step % 777 === 0) rules = add([0, levels, last[0]!])
  else {
    const member = Math.imul(step, 0x9e3779b1) >>> 0
    last[member % members] = add([0, levels, rules, last[member % members]!])
  }
}

const shared = Array.from(last, nidOf)
/** Two branches since `back` events: half of what changed is in the one, half in the other. */
function fork(back: number): number[][] {
  const events = Array.from({ length: back }, (_, at) => nidOf(graph.length - 1 - at))
  return [events.filter((_, at) => at % 2 === 0), events.filter((_, at) => at % 2 === 1)]
}

function measure(name: string, question: () => Steps<number[]>): void {
  const times = Array.from({ length: 11 }, () => stepThrough(question()))
  const { ms, longest, value } = times.toSorted((a, b) => a.ms - b.ms)[5]!
  bench.tell(name, [
    { name: 'whole', value: ms, unit: 'ms' },
    { name: 'longest step', value: longest, unit: 'ms' },
    { name: 'events found', value: value.length, unit: '' },
  ])
}

bench.tell('the graph', [
  { name: 'events in it', value: graph.length, unit: '' },
  { name: 'memory', value: graph.bytes / 2 ** 20, unit: 'MiB' },
])
for (const back of [2, 100, 10_000, 100_000].filter((each) => each < later)) {
  const states = fork(back)
  const apart = new Set(states.flat())
  const common = shared.filter((nid) => !apart.has(nid))
  measure(`auth difference, fork of ${back} state events`, () => graph.difference(states, common))
  measure(`conflicted subgraph, ${back} events`, () => graph.subgraph(states.flat()))
}
measure('auth chain of one member', () => graph.chain([shared[17]!], false))
measure('auth chain of the whole state', () => graph.chain(shared, true))
bench.chart('How long questions take', ['whole', 'longest step'])
bench.finish()

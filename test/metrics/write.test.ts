import { expect, test } from 'bun:test'
import { families } from '#src/metrics/families.ts'
import { write } from '#src/metrics/write.ts'

test('totals and states are written under their family, with their labels', async () => {
  const text = await write([
    { name: 'lanes', labels: { thread: 'a' }, value: 3 },
    { name: 'lanes', labels: { thread: 'b "\\\n' }, value: 4 },
    { name: 'persisted_total', value: 7 },
  ])
  expect(text.split('\n').filter((line) => line !== '')).toEqual([
    '# HELP laneway_lanes Lanes in memory',
    '# TYPE laneway_lanes gauge',
    'laneway_lanes{thread="a"} 3',
    'laneway_lanes{thread="b \\"\\\\\\n"} 4',
    '# HELP laneway_persisted_total Pieces of work that group commits have made durable',
    '# TYPE laneway_persisted_total counter',
    'laneway_persisted_total 7',
  ])
})

test('buckets hold all that is below them, the last one everything', async () => {
  const value = { bounds: [0.001, 0.5], counts: [2, 0, 1], sum: 3.5 }
  const text = await write([{ name: 'turn_seconds', labels: { thread: 'a' }, value }])
  expect(text.split('\n').filter((line) => line.startsWith('laneway'))).toEqual([
    'laneway_turn_seconds_bucket{thread="a",le="0.001"} 2',
    'laneway_turn_seconds_bucket{thread="a",le="0.5"} 2',
    'laneway_turn_seconds_bucket{thread="a",le="+Inf"} 3',
    'laneway_turn_seconds_sum{thread="a"} 3.5',
    'laneway_turn_seconds_count{thread="a"} 3',
  ])
})

test('what nobody described is written even so, as what its name says', async () => {
  const text = await write([
    { name: 'novel_total', value: 1 },
    { name: 'novel', value: 2 },
  ])
  expect(text).toContain('# TYPE laneway_novel_total counter')
  expect(text).toContain('# TYPE laneway_novel gauge')
})

test('a name says what kind it is: totals end in _total, and nothing else does', () => {
  const odd = Object.entries(families).filter(
    ([name, [kind]]) => name.endsWith('_total') !== (kind === 'counter'),
  )
  expect(odd).toEqual([])
})

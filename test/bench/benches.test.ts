import { describe, expect, test } from 'bun:test'
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { benches } from '#bench/benches.ts'
import {
  type Figure,
  type Result,
  isWrong,
  latencyFigures,
  targetText,
  valueText,
  verdictOf,
} from '#bench/figures.ts'
import { writeReport } from '#bench/report/html.ts'

const folder = join(import.meta.dir, '../../bench')

test('the runner and the README list every bench, and nothing else', async () => {
  const files = (await readdir(folder)).filter((name) => name.endsWith('.ts'))
  const opened = await Promise.all(
    files.map(async (name) => {
      const text = await readFile(join(folder, name), 'utf8')
      return /= openBench\(\s*'([^']+)'/.exec(text)?.[1]
    }),
  )
  const names = opened.filter((name) => name !== undefined)
  expect(names.length).toBeGreaterThan(10)
  expect(names.map((name) => `${name}.ts`).every((name) => files.includes(name))).toBe(true)
  expect(Object.keys(benches).sort()).toEqual(names.sort())
  const readme = await readFile(join(folder, 'README.md'), 'utf8')
  const rows = [...readme.matchAll(/^\| `([a-z-]+)` +\|/gm)].map(([, name]) => name!)
  expect(rows.sort()).toEqual(names.sort())
})

describe('a figure', () => {
  const figure = (value: number, target: Figure['target']): Figure => ({
    name: 'it',
    value,
    unit: 'ms',
    ...(target && { target }),
  })

  test('reaches its goal, or the first target, or neither', () => {
    const less = { first: 50, goal: 25 }
    expect([25, 26, 51].map((value) => verdictOf(figure(value, less)))).toEqual([
      'goal',
      'first',
      'missed',
    ])
    const more = { first: 1_000, goal: 2_500, more: true as const }
    expect([2_500, 1_000, 999].map((value) => verdictOf(figure(value, more)))).toEqual([
      'goal',
      'first',
      'missed',
    ])
    expect(verdictOf(figure(1, undefined))).toBeUndefined()
  })

  test('is wrong only if it is a count that is not what it must be', () => {
    expect(isWrong(figure(1, { exactly: 0 }))).toBe(true)
    expect(isWrong(figure(0, { exactly: 0 }))).toBe(false)
    expect(isWrong(figure(9_999, { first: 50, goal: 25 }))).toBe(false)
    expect(isWrong(figure(9_999, undefined))).toBe(false)
  })

  test('that could not be measured meets no target', () => {
    expect(verdictOf(figure(NaN, { first: 50, goal: 25 }))).toBe('missed')
    expect(latencyFigures([])[0]!.value).toBeNaN()
  })

  test('is told with its unit and its target', () => {
    expect(valueText(1234.5, 'µs')).toBe('1,235 µs')
    expect(valueText(0.25, '×')).toBe('0.250×')
    expect(valueText(NaN, 'ms')).toBe('–')
    expect(targetText({ first: 50, goal: 25 }, 'ms')).toBe('≤ 50 ms, goal ≤ 25 ms')
    expect(targetText({ exactly: 0 }, '')).toBe('exactly 0')
  })
})

describe('the report', () => {
  const result: Result = {
    bench: 'local-send',
    options: { rooms: 10 },
    against: 'Another 1.0',
    figures: [
      { group: 'a <group>', name: 'p50', value: 5, unit: 'ms', target: { first: 9, goal: 4 } },
      { group: 'a <group>', name: 'p99', value: 20, unit: 'ms', against: 200 },
      { group: 'a <group>', name: 'lost', value: 2, unit: '', target: { exactly: 0 } },
    ],
    charts: [{ title: 'Latency', figures: ['p50', 'p99'] }],
    series: [
      {
        name: 'Memory over time',
        x: { name: 'time', unit: 's' },
        y: { name: 'memory', unit: 'MiB' },
        lines: [
          {
            name: 'server',
            points: [
              [0, 100],
              [1, 120],
            ],
          },
        ],
      },
    ],
  }
  const page = (short: boolean) =>
    writeReport({
      began: new Date(0),
      short,
      machine: { Processor: 'A & B' },
      outcomes: [
        { name: 'local-send', what: 'a message', seconds: 1, result },
        { name: 'sync', what: 'a sync', seconds: 1, failure: 'it ended with 1' },
      ],
    })

  test('holds charts, verdicts and failures, and names nothing outside of itself', () => {
    const html = page(false)
    expect(html.match(/<svg /g)).toHaveLength(2)
    expect(html).toContain('first target')
    expect(html).toContain('missed')
    expect(html).toContain('1/10')
    expect(html).toContain('it ended with 1')
    expect(html).toContain('A &amp; B')
    expect(html).not.toContain('a <group>')
    expect(html).not.toMatch(/<script|<link|<img|@import|url\((?!#)|(?:src|href)="(?!#)/)
  })

  test('of a short round judges counts alone', () => {
    const html = page(true)
    expect(html).not.toContain('first target')
    expect(html).toContain('missed')
    expect(html).toContain('0 of 1 counts are right')
  })
})

import { parseArgs } from 'node:util'

/**
 * What a figure should be: at least good enough, and what we want; less is better unless `more`. Or a
 * count that must be right, whatever the machine: a bench that misses one fails.
 */
export type Target = { first: number; goal: number; more?: true } | { exactly: number }

export type Figure = {
  name: string
  value: number
  /** `µs`, `ms`, `PDU/s`, `KiB`, `bytes`, `×` …; empty for what is only counted. */
  unit: string
  target?: Target
  /** The same figure of the server named in `against` of the result, from the same run. */
  against?: number
}

/** Lines over one axis, such as memory over time. */
export type Series = {
  name: string
  x: { name: string; unit: string }
  y: { name: string; unit: string }
  lines: { name: string; points: [x: number, y: number][] }[]
}

/** Bars of figures of these names: one row for each group that has them, or for each in `groups`. */
export type Chart = {
  title: string
  figures: string[]
  groups?: string[]
  /** Parts of a whole, such as the processor time of server and PostgreSQL. */
  stacked?: true
}

/** What a bench prints with `--json`: one line. `group` is the title under which figures belong. */
export type Result = {
  bench: string
  options: Record<string, OptionValue>
  against?: string
  figures: (Figure & { group: string })[]
  charts?: Chart[]
  series?: Series[]
}

export type Verdict = 'goal' | 'first' | 'missed'

type OptionValue = number | string | boolean
type Options = Record<string, OptionValue>

/** What `--help` tells of every bench. */
const everywhere = `
  --short  with less of everything: to see that it runs, and that its counts are right
  --json   prints one line of JSON with all figures instead
`

/** One run of a bench: its options, and the figures that it tells. */
export class Bench<T extends Options> {
  readonly name: string
  readonly options: T
  /** Whether the figures are only for seeing that all works. */
  readonly short: boolean
  readonly #json: boolean
  readonly #result: Result

  constructor(name: string, options: T, { short, json }: { short: boolean; json: boolean }) {
    this.name = name
    this.options = options
    this.short = short
    this.#json = json
    this.#result = { bench: name, options, figures: [] }
  }

  /** Names the other server that figures are compared with, and its version. */
  set against(server: string) {
    this.#result.against = server
  }

  /** Tells figures that belong together, at once for people and at the end as JSON. */
  tell(group: string, figures: readonly Figure[]): void {
    this.#result.figures.push(...figures.map((figure) => ({ group, ...figure })))
    if (this.#json) return
    const lines = figures.map((figure) => [figure.name, textOf(figure)] as const)
    const width = Math.max(...lines.map(([name]) => name.length)) + 2
    const rows = lines.map(([name, text]) => `  ${name.padEnd(width)}${text}`)
    console.log([`${this.name}: ${group}`, ...rows].join('\n'))
  }

  /** Has figures drawn side by side in the report. */
  chart(title: string, figures: string[], more: Pick<Chart, 'groups' | 'stacked'> = {}): void {
    ;(this.#result.charts ??= []).push({ title, figures, ...more })
  }

  /** Has lines drawn in the report. */
  draw(series: Series): void {
    ;(this.#result.series ??= []).push(series)
  }

  /** Ends it: the JSON, and exit code 1 if a count is wrong. */
  finish(): void {
    if (this.#json) console.log(JSON.stringify(this.#result))
    const wrong = this.#result.figures.filter(isWrong)
    for (const { group, name, value, target } of wrong)
      console.error(
        `${this.name}: ${group}: ${name} is ${value}, must be ${(target as { exactly: number }).exactly}`,
      )
    if (wrong.length > 0) process.exitCode = 1
  }
}

/**
 * Reads the options of a bench: `--name VALUE` for each default, of its type; with `--short` what `short`
 * says goes before the defaults. `--help` prints what the bench is and ends it.
 */
export function openBench<T extends Options>(
  name: string,
  help: string,
  defaults: T,
  short: Partial<T> = {},
): Bench<T> {
  const { values } = parseArgs({
    options: {
      help: { type: 'boolean', short: 'h' },
      json: { type: 'boolean' },
      short: { type: 'boolean' },
      ...Object.fromEntries(
        Object.entries(defaults).map(([key, value]) => [
          key,
          { type: typeof value === 'boolean' ? ('boolean' as const) : ('string' as const) },
        ]),
      ),
    },
  }) as { values: Record<string, string | boolean | undefined> }
  if (values['help']) {
    console.log(`${help.trim()}\n${everywhere.trimEnd()}`)
    process.exit(0)
  }
  const chosen = values['short'] ? { ...defaults, ...short } : defaults
  const options = Object.fromEntries(
    Object.entries(chosen).map(([key, value]) => [key, optionOf(key, values[key], value)]),
  )
  return new Bench(name, options as T, { short: !!values['short'], json: !!values['json'] })
}

function optionOf(
  name: string,
  given: string | boolean | undefined,
  fallback: OptionValue,
): OptionValue {
  if (given === undefined || typeof fallback !== 'number') return given ?? fallback
  const number = Number(given)
  if (!(number > 0)) throw new Error(`--${name} wants a number above 0`)
  return number
}

/** The processor time of server and PostgreSQL apart, in µs for each of what is counted. */
export function cpuFigures(
  [server, postgres]: readonly [server: number, postgres: number],
  count: number,
  target?: Target,
): Figure[] {
  const figure = (name: string, us: number) => ({ name, value: us / count, unit: 'µs' })
  return [
    figure('CPU server', server),
    figure('CPU PostgreSQL', postgres),
    { ...figure('CPU sum', server + postgres), ...(target && { target }) },
  ]
}

/** What of latencies in ms is told; they get sorted. */
export function latencyFigures(times: number[], targets: { p99?: Target } = {}): Figure[] {
  times.sort((a, b) => a - b)
  const at = (share: number) =>
    times[Math.min(times.length - 1, Math.floor(times.length * share))] ?? NaN
  return [
    { name: 'p50', value: at(0.5), unit: 'ms' },
    { name: 'p99', value: at(0.99), unit: 'ms', ...(targets.p99 && { target: targets.p99 }) },
    { name: 'worst', value: times.at(-1) ?? NaN, unit: 'ms' },
  ]
}

/** What became of its target; undefined if it has none. */
export function verdictOf({ value, target }: Figure): Verdict | undefined {
  if (!target) return undefined
  if ('exactly' in target) return value === target.exactly ? 'goal' : 'missed'
  const meets = (bound: number) => (target.more ? value >= bound : value <= bound)
  return meets(target.goal) ? 'goal' : meets(target.first) ? 'first' : 'missed'
}

/** Whether a count is not what it must be: no matter of speed. */
export const isWrong = (figure: Figure): boolean =>
  figure.target !== undefined && 'exactly' in figure.target && verdictOf(figure) === 'missed'

/** A value with its unit, in as many digits as tell something. */
export function valueText(value: number, unit: string): string {
  if (!Number.isFinite(value)) return '–'
  const size = Math.abs(value)
  const digits = Number.isInteger(value) || size >= 100 ? 0 : size >= 10 ? 1 : size >= 1 ? 2 : 3
  const number = value.toLocaleString('en', {
    minimumFractionDigits: Number.isInteger(value) ? 0 : digits,
    maximumFractionDigits: digits,
  })
  return unit === '' ? number : unit === '×' ? `${number}×` : `${number} ${unit}`
}

/** What a target asks for, in words. */
export function targetText(target: Target, unit: string): string {
  if ('exactly' in target) return `exactly ${valueText(target.exactly, '')}`
  const sign = target.more ? '≥' : '≤'
  return target.first === target.goal
    ? `${sign} ${valueText(target.goal, unit)}`
    : `${sign} ${valueText(target.first, unit)}, goal ${sign} ${valueText(target.goal, unit)}`
}

function textOf(figure: Figure): string {
  const { value, unit, target, against } = figure
  const verdict = verdictOf(figure)
  const words = { goal: 'reached', first: 'the first is reached', missed: 'MISSED' }
  const told = verdict ? `  (${targetText(target!, unit)}: ${words[verdict]})` : ''
  const other =
    against === undefined
      ? ''
      : `  against ${valueText(against, unit)}, ${valueText(value / against, '×')}`
  return valueText(value, unit) + other + told
}

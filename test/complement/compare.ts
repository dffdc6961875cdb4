import { readFileSync } from 'node:fs'

/**
 * Compares new results of Complement with the baseline, in both directions:
 * `bun test/complement/compare.ts NEW [BASELINE]`. It ends with 1 if something got worse. A file is
 * what `go test -json` wrote, or the table that `compare.ts --tsv results.json` makes of it.
 */

/** `package`, `test` and `result`, one test a line. */
export type Results = ReadonlyMap<string, string>

export function readResults(tsv: string): Results {
  const results = new Map<string, string>()
  for (const line of tsv.split('\n')) {
    if (line === '') continue
    const [suite, name, result, ...rest] = line.split('\t')
    if (!suite || !name || !result || rest.length > 0) throw new Error(`Not a result: ${line}`)
    results.set(`${suite}\t${name}`, result)
  }
  return results
}

type GoEvent = { Action: string; Package?: string; Test?: string }

/** The results out of what `go test -json` wrote, one event a line. */
export function readGoEvents(lines: string): Results {
  const results = new Map<string, string>()
  for (const line of lines.split('\n')) {
    // What is not of the tests is between the events, such as the output of a build.
    if (!line.startsWith('{')) continue
    const { Action: result, Package: path, Test: name } = JSON.parse(line) as GoEvent
    if (!path || !name || !['pass', 'fail', 'skip'].includes(result)) continue
    results.set(`${path.replace(/^.*?\/(?=tests(\/|$))/, '')}\t${name}`, result)
  }
  return results
}

/** The table of the results, in the order of its lines. */
export const toTsv = (results: Results): string =>
  [...results]
    .map(([test, result]) => `${test}\t${result}\n`)
    .sort()
    .join('')

export type Comparison = { worse: string[]; better: string[]; gone: string[] }

/**
 * What passes no longer, what passes since, and what was not run any more. A test that passed and
 * was not run counts as worse: a suite that stops early would else look like progress.
 */
export function compare(baseline: Results, now: Results): Comparison {
  const comparison: Comparison = { worse: [], better: [], gone: [] }
  for (const [test, before] of baseline) {
    const after = now.get(test)
    if (before === 'pass' && after !== 'pass')
      comparison.worse.push(`${test}\t${after ?? 'not run'}`)
    else if (after === undefined) comparison.gone.push(`${test}\t${before}`)
  }
  for (const [test, after] of now)
    if (after === 'pass' && baseline.get(test) !== 'pass')
      comparison.better.push(`${test}\t${baseline.get(test) ?? 'new'}`)
  return comparison
}

const readFile = (path: string): Results => {
  const text = readFileSync(path, 'utf8')
  return text.startsWith('{') ? readGoEvents(text) : readResults(text)
}

function main(args: string[]): void {
  const [path, baseline = new URL('results.tsv', import.meta.url).pathname] = args.filter(
    (arg) => arg !== '--tsv',
  )
  if (path === undefined) throw new Error('usage: bun test/complement/compare.ts NEW [BASELINE]')
  const now = readFile(path)
  if (args.includes('--tsv')) return void process.stdout.write(toTsv(now))
  const { worse, better, gone } = compare(readFile(baseline), now)
  for (const [title, tests] of Object.entries({ better, 'not run': gone, worse })) {
    if (tests.length > 0) console.log(`${title}: ${tests.length}`)
    for (const test of tests) console.log(`  ${test}`)
  }
  if (worse.length + better.length + gone.length === 0) console.log('as in the baseline')
  process.exitCode = worse.length > 0 ? 1 : 0
}

if (import.meta.main) main(process.argv.slice(2))

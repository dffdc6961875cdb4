import { readFileSync } from 'node:fs'

/**
 * Compares new results of Complement with the baseline, in both directions:
 * `bun test/complement/compare.ts NEW.tsv [BASELINE.tsv]`. It ends with 1 if something got worse.
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

function main([path, baseline = new URL('results.tsv', import.meta.url).pathname]: string[]): void {
  if (path === undefined) throw new Error('usage: bun test/complement/compare.ts NEW.tsv [OLD.tsv]')
  const before = readResults(readFileSync(baseline, 'utf8'))
  const { worse, better, gone } = compare(before, readResults(readFileSync(path, 'utf8')))
  for (const [title, tests] of Object.entries({ better, 'not run': gone, worse })) {
    if (tests.length > 0) console.log(`${title}: ${tests.length}`)
    for (const test of tests) console.log(`  ${test}`)
  }
  if (worse.length + better.length + gone.length === 0) console.log('as in the baseline')
  process.exitCode = worse.length > 0 ? 1 : 0
}

if (import.meta.main) main(process.argv.slice(2))

import { describe, expect, test } from 'bun:test'
import { rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { newFolder } from '#test/folder.ts'
import { compare, readGoEvents, readResults, toTsv } from './compare.ts'

const tsv = (results: Record<string, string>) =>
  Object.entries(results)
    .map(([name, result]) => `tests\t${name}\t${result}\n`)
    .join('')
const results = (of: Record<string, string>) => readResults(tsv(of))

describe('new results', () => {
  test('are compared in both directions', () => {
    const baseline = results({ A: 'pass', B: 'fail', C: 'pass', D: 'fail', E: 'skip' })
    const now = results({ A: 'fail', B: 'pass', C: 'pass', D: 'fail', E: 'skip', F: 'pass' })
    expect(compare(baseline, now)).toEqual({
      worse: ['tests\tA\tfail'],
      better: ['tests\tB\tfail', 'tests\tF\tnew'],
      gone: [],
    })
  })

  test('are worse where what passed is skipped, or not run', () => {
    const { worse, gone } = compare(
      results({ A: 'pass', B: 'pass', C: 'fail' }),
      results({ A: 'skip' }),
    )
    expect(worse).toEqual(['tests\tA\tskip', 'tests\tB\tnot run'])
    expect(gone).toEqual(['tests\tC\tfail'])
  })

  test('must be results', () => {
    expect(() => readResults('tests A pass\n')).toThrow('Not a result')
  })
})

test('the events of `go test` become a table', () => {
  const event = (of: object) => `${JSON.stringify(of)}\n`
  const path = 'github.com/matrix-org/complement/tests'
  const lines = [
    '# a build says something\n',
    event({ Action: 'run', Package: path, Test: 'B' }),
    event({ Action: 'output', Package: path, Test: 'B', Output: 'hello' }),
    event({ Action: 'fail', Package: path, Test: 'B' }),
    event({ Action: 'pass', Package: `${path}/csapi`, Test: 'C/part' }),
    event({ Action: 'skip', Package: path, Test: 'A' }),
    event({ Action: 'fail', Package: path }),
  ]
  const table = toTsv(readGoEvents(lines.join('')))
  expect(table).toBe('tests\tA\tskip\ntests\tB\tfail\ntests/csapi\tC/part\tpass\n')
  expect(toTsv(readResults(table))).toBe(table)
})

test('the baseline can be read, and is compared with by default', async () => {
  const folder = await newFolder('compare')
  try {
    const run = async (text: string) => {
      await writeFile(join(folder, 'new.tsv'), text)
      const command = [
        process.execPath,
        join(import.meta.dir, 'compare.ts'),
        join(folder, 'new.tsv'),
      ]
      const { exitCode, stdout } = Bun.spawnSync(command)
      return { exitCode, text: stdout.toString() }
    }
    const baseline = await Bun.file(join(import.meta.dir, 'results.tsv')).text()
    expect(await run(baseline)).toEqual({ exitCode: 0, text: 'as in the baseline\n' })
    const first = baseline.split('\n').find((line) => line.endsWith('\tpass'))!
    const broken = baseline.replace(`${first}\n`, first.replace(/pass$/, 'fail') + '\n')
    expect(await run(broken)).toEqual({
      exitCode: 1,
      text: `worse: 1\n  ${first.replace(/pass$/, 'fail')}\n`,
    })
  } finally {
    await rm(folder, { recursive: true })
  }
})

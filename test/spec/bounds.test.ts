import { expect, test } from 'bun:test'
import { join } from 'node:path'

/** The bounds that docs/operation.md names are those of the code: bounds.tsv says which constant is which. */
const root = join(import.meta.dir, '../..')
const page = await Bun.file(join(root, 'docs/operation.md')).text()
const [, section = ''] = /^## Bounds$([^]*?)^## /m.exec(page) ?? []

/** What stands in the table of a thing, rows without a name being of that above. */
const cells = new Map<string, string>()
let last = ''
for (const line of section.split('\n').filter((each) => each.startsWith('| '))) {
  const [name = '', ...rest] = line
    .split('|')
    .slice(1)
    .map((cell) => cell.trim())
  last = name || last
  cells.set(last, `${cells.get(last) ?? ''} ${rest.join(' ')}`)
}

const lines = (await Bun.file(join(import.meta.dir, 'bounds.tsv')).text()).trim().split('\n')
const held = lines.slice(1).map((line) => {
  const [what = '', phrase = '', constant = ''] = line.split('\t')
  const [file = '', name = ''] = constant.split(' ')
  return { what, phrase, file, name }
})

const words = ['', 'one', 'two', 'three', 'four', 'five', 'six', 'seven', 'eight', 'nine', 'ten']
const units: [RegExp, number][] = [
  [/^KiB/, 2 ** 10],
  [/^MiB/, 2 ** 20],
  [/^MB/, 1e6],
  [/^million/, 1e6],
  [/^ms/, 1],
  [/^seconds?/, 1e3],
  [/^minutes?/, 60e3],
  [/^hours?/, 3600e3],
  [/^days?/, 24 * 3600e3],
  [/^week/, 7 * 24 * 3600e3],
]

/** What a phrase such as "32 MiB" or "two minutes" says, in bytes or milliseconds where it has such a unit. */
function valueOf(phrase: string): number {
  const fits = /([\d,.]*\d|\b[a-z]+)(?: (\S+))?/
  const [, number = '', unit = ''] = fits.exec(phrase.replace('a quarter of a', '0.25')) ?? []
  const spelt = number === 'a' || number === 'an' ? 1 : words.indexOf(number)
  const count = /\d/.test(number) ? Number(number.replaceAll(',', '')) : spelt
  return count * (units.find(([pattern]) => pattern.test(unit))?.[1] ?? 1)
}

/** The number that a file gives a constant, a parameter, an option or a key of an object. */
async function constantOf(file: string, name: string): Promise<number | undefined> {
  const source = await Bun.file(join(root, 'src', file)).text()
  const pattern = new RegExp(
    `\\b${name}(?: =|:| \\?\\?) ((?:[\\d_.e* ]|mebibyte)+)[,)]?(?: {)?$`,
    'm',
  )
  const [, sum] = pattern.exec(source) ?? []
  if (sum === undefined) return undefined
  const factors = sum
    .replace('mebibyte', `${2 ** 20}`)
    .replaceAll('_', '')
    .split(/ \* (?!\*)/)
  const values = factors.map((factor) => {
    const [number = '', power = '1'] = factor.split(' ** ')
    return Number(number) ** Number(power)
  })
  return values.reduce((product, each) => product * each, name.endsWith('Seconds') ? 1e3 : 1)
}

test('a bound that the manual tells is that of the code', async () => {
  const wrong: string[] = []
  for (const { what, phrase, file, name } of held) {
    const told = cells.get(what)?.includes(phrase) ?? false
    const value = await constantOf(file, name)
    if (!told || value !== valueOf(phrase))
      wrong.push(`${what}: ${phrase}: ${file} ${name} = ${value}`)
  }
  expect(wrong).toEqual([])
})

/** Bounded by the configuration, or by what is no constant. */
const others = [
  'Requests of a client or server',
  'What other servers are to get (durable)',
  'Media of other servers on the disk',
  'What an application service does not take',
  'Work that patterns of push rules cost',
]

test('whatever the manual bounds by a number is held to the code', () => {
  const known = new Set([...held.map(({ what }) => what), ...others])
  const free = [...cells].filter(([what, text]) => /\d/.test(text) && !known.has(what))
  expect(free.map(([what]) => what)).toEqual([])
})

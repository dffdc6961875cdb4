import { expect, test } from 'bun:test'
import { join } from 'node:path'
import { openFolder, run } from '#test/program/program.ts'
import packageJson from '../../package.json' with { type: 'json' }

test('--help says how to use it, with examples', async () => {
  const { code, out, errors } = await run(['--help'])
  expect([code, errors]).toEqual([0, ''])
  expect(out).toContain('Usage')
  expect(out).toMatch(/^Examples\n(  .+\n)+/m)
  expect(out).toContain('bun run server user add alice --admin')
})

test('--version prints the release', async () => {
  const { code, out } = await run(['--version'])
  expect([code, out]).toEqual([0, `${packageJson.version}\n`])
})

test('config prints a file that loads as it is, and with every comment taken away', async () => {
  const { code, out, errors } = await run(['config'])
  expect([code, errors]).toEqual([0, ''])
  await using folder = await openFolder()
  const at = (name: string) => join(folder.path, name)
  await Bun.write(at('printed.toml'), out)
  // A command that reads the configuration, and then finds that it was given no password.
  const reads = await run(['user', 'add', 'alice', '-c', at('printed.toml')])
  expect([reads.code, reads.errors]).toEqual([
    1,
    'laneway: No password was given: write it to standard input\n',
  ])

  const options = out.replace(/^# (?=\[\[|[a-z_]+ = )/gm, '')
  await Bun.write(at('all.toml'), options)
  const all = await run(['user', 'add', 'alice', '-c', at('all.toml')])
  // Examples name files that are not here; everything else is as it should be.
  const faults = all.errors.split('\n').slice(1, -1)
  expect(faults.length).toBeGreaterThan(0)
  expect(faults.filter((line) => !line.includes(' cannot be read'))).toEqual([])
})

test('an unknown command and an unknown option are refused, with a way to learn more', async () => {
  const command = await run(['strat'])
  expect([command.code, command.errors]).toEqual([
    1,
    "laneway: There is no command 'strat'. --help lists what there is.\n",
  ])
  const option = await run(['--verbose'])
  expect([option.code, option.errors]).toEqual([
    1,
    "laneway: Unknown option '--verbose'. --help lists what there is.\n",
  ])
})

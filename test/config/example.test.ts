import { afterAll, expect, test } from 'bun:test'
import { rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { Config } from '#src/config.ts'
import { printExample, toToml } from '#src/config/example.ts'
import { loadConfig } from '#src/config/load.ts'
import { optionsOf } from '#src/config/schema.ts'
import { newFolder } from '#test/folder.ts'

const folder = await newFolder('example')
afterAll(() => rm(folder, { recursive: true }))

async function load(name: string, text: string) {
  await writeFile(join(folder, name), text)
  return loadConfig({ file: join(folder, name), env: {} })
}

test('the printed example is a configuration, and says nothing but the defaults', async () => {
  expect(await load('example.toml', printExample())).toEqual(await load('empty.toml', ''))
})

test('with its options switched on, the example shows every default as it is', async () => {
  const examples =
    /^# (public_base_url|url|delegate_to|shared_secret|file|tls|host|user|password|from|directory|page|token) = .*\n/gm
  const text = printExample()
    .replace(examples, '')
    .replace(/^# ((?:\[\[)?[a-z_]+(?: = .*|\]\]))$/gm, '$1')
  expect(text).toContain('\nserver_name = "localhost"')
  expect(text).toContain('\n[[listeners]]')
  // In the file a list of tables would end the options above it; here it is the last of them.
  expect(await load('switched.toml', text)).toEqual(await load('empty.toml', ''))
})

test('every option and every section is described', () => {
  for (const { path, schema } of optionsOf(Config))
    if (path.length <= 2) expect(schema.description, path.join('.')).toMatch(/\.$/)
})

test('a line of the example is at most 100 columns wide, lists excepted', () => {
  const lines = printExample().split('\n')
  expect(lines.filter((line) => line.length > 100 && !/ = \[/.test(line))).toEqual([])
})

test('texts and keys of any kind survive as TOML', () => {
  const value = { 'a.b': ['"quoted"', 'ü\n', ''], plain: { deep: -1.5, yes: true }, none: {} }
  expect(Bun.TOML.parse(`value = ${toToml(value)}`)).toEqual({ value })
})

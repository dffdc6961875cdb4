import { expect, test } from 'bun:test'
import { join } from 'node:path'
import { apiOf } from '#api/http/op.ts'
import { ops } from '#api/index.ts'

/** What the manual has operators write elsewhere is what the server needs. */
const root = join(import.meta.dir, '../..')
const page = await Bun.file(join(root, 'docs/set-up.md')).text()
const paths = ops.flatMap((op) => [op.path, ...(op.also ?? [])])
const forAll = paths.filter(
  (path) => ['client', 'federation'].includes(apiOf(path)) && !path.startsWith('/_laneway/import/'),
)

const nginx = new RegExp(/location ~ (\S+) \{/.exec(page)![1]!)
const caddy = Array.from(page.matchAll(/reverse_proxy (\S+)\* /g), (match) => match[1]!)

test.each([
  ['nginx', (path: string) => nginx.test(path)],
  ['Caddy', (path: string) => caddy.some((start) => path.startsWith(start))],
] as const)(
  '%s passes on what clients and other servers ask for, and nothing else',
  (_, passes) => {
    expect(paths.filter(passes).sort()).toEqual(forAll.filter((path) => path !== '/health').sort())
  },
)

test('a service is given the environment that the command has', async () => {
  const { scripts } = (await Bun.file(join(root, 'package.json')).json()) as {
    scripts: { server: string }
  }
  const unit = await Bun.file(join(root, 'docs/operation.md')).text()
  const told = Array.from(unit.matchAll(/^Environment=(.+)$/gm), (match) => match[1]!)
  expect(`${told.join(' ')} bun src/main.ts`).toBe(scripts.server)
})

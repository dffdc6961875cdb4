import { expect, test } from 'bun:test'
import { join } from 'node:path'
import { apiOf } from '#api/http/op.ts'
import { ops } from '#api/index.ts'

/** What docs/set-up.md has reverse proxies pass on is what clients and servers elsewhere ask for. */
const page = await Bun.file(join(import.meta.dir, '../../docs/set-up.md')).text()
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

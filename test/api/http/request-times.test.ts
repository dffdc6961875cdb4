import { expect, test } from 'bun:test'
import { Type as t } from '@sinclair/typebox'
import { mount } from '#api/http/mount.ts'
import { op } from '#api/http/op.ts'
import { RequestTimes } from '#api/http/request-times.ts'
import { notFound } from '#core/error.ts'
import { open } from '#core/schema.ts'
import { silentLog } from '#src/log.ts'
import type { Context } from '#src/context.ts'

const find = op({
  id: 'find',
  method: 'GET',
  path: '/_matrix/things/:thing',
  auth: 'none',
  params: open({ thing: t.String() }),
  run: ({ params: { thing } }) => {
    if (thing === 'lost') throw notFound('It is not here')
    return {}
  },
})

test('requests count by route and status, whatever stands in their paths', async () => {
  const requests = new RequestTimes()
  const app = mount({ log: silentLog } as unknown as Context, [find], { requests })
  const paths = ['things/a', 'things/b', 'things/lost', 'nothing/1', 'nothing/2']
  for (const path of paths) await app.fetch(new Request(`http://here/_matrix/${path}`))
  const found = [...requests.asked()].map(({ method, route, statuses, times }) => [
    method,
    route,
    [...statuses],
    times.read().counts.reduce((sum, count) => sum + count),
  ])
  expect(found).toEqual([
    ['any', 'unmatched', [[404, 2]], 2],
    [
      'GET',
      '/_matrix/things/:thing',
      [
        [200, 2],
        [404, 1],
      ],
      3,
    ],
  ])
  expect(requests.underWay).toBe(0)
})

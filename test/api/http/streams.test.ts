import { expect, test } from 'bun:test'
import { noAppservices } from '#core/appservice.ts'
import { mount } from '#api/http/mount.ts'
import { type AnyOp, op } from '#api/http/op.ts'
import { RateLimits } from '#api/http/rate-limit.ts'
import type { Context } from '#src/context.ts'

const ops: AnyOp[] = [
  op({
    id: 'take',
    method: 'POST',
    path: '/_matrix/client/take',
    auth: 'none',
    streams: true,
    async run({ request }) {
      if (!request.stream) return { bytes: null }
      let bytes = 0
      for await (const piece of request.stream) bytes += piece.length
      return { bytes }
    },
  }),
  op({
    id: 'leave',
    method: 'POST',
    path: '/_matrix/client/leave',
    auth: 'none',
    run: ({ request }) => ({ stream: request.stream }),
  }),
]
const ctx = {
  appservices: noAppservices,
  limits: new RateLimits(undefined, Date.now),
  log: { isLevelEnabled: () => false },
} as unknown as Context
const app = mount(ctx, ops)
const ask = async (path: string, body: Uint8Array<ArrayBuffer> | null): Promise<unknown> => {
  const request = new Request(`http://x/_matrix/client/${path}`, { method: 'POST', body })
  return (await app.fetch(request)).json()
}

test('an operation that says so takes its body as it comes, whatever it is and however long', async () => {
  expect(await ask('take', new Uint8Array(3_000_000))).toEqual({ bytes: 3_000_000 })
  expect(await ask('take', null)).toEqual({ bytes: null })
})

test('no other operation is given one', async () => {
  expect(await ask('leave', new Uint8Array(10))).toEqual({ stream: null })
})

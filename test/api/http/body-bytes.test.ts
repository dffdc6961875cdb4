import { expect, test } from 'bun:test'
import { type Socket, connect } from 'node:net'
import { open, Content } from '#core/schema.ts'
import { BodyBytes } from '#api/http/body-bytes.ts'
import { mount } from '#api/http/mount.ts'
import { op } from '#api/http/op.ts'
import type { Context } from '#src/context.ts'
import { silentLog } from '#src/log.ts'
import { until } from '#test/until.ts'

const take = op({
  id: 'take',
  method: 'POST',
  path: '/_matrix/client/take',
  auth: 'none',
  maxBytes: 2_000_000,
  body: Content,
  response: open({}),
  run: ({ body }) => ({ keys: Object.keys(body).length }),
})

/** Sends the head of a request and part of its body, and then nothing more. */
function begin(port: number, length: number, sent: number): Socket {
  const socket = connect(port, '127.0.0.1')
  socket.on('error', () => {})
  socket.write(
    `POST ${take.path} HTTP/1.1\r\nHost: x\r\nContent-Length: ${length}\r\n\r\n${'x'.repeat(sent)}`,
  )
  return socket
}

test('large bodies have a share of the memory, and more of them are refused until there is room', async () => {
  const bodies = new BodyBytes(1_500_000)
  const held: number[] = []
  const hold = bodies.hold.bind(bodies)
  bodies.hold = () => {
    const { take: count, release } = hold()
    return { take: (bytes) => (count(bytes), void held.push(bytes)), release }
  }
  const total = () => held.reduce((sum, bytes) => sum + bytes, 0)
  const app = mount({ log: silentLog } as unknown as Context, [take], { bodies })
  using server = Bun.serve({ port: 0, hostname: '127.0.0.1', fetch: app.fetch })
  const ask = (size: number, chunked = false) => {
    const text = JSON.stringify({ x: 'x'.repeat(size) })
    const body = chunked ? new Blob([text]).stream() : text
    return fetch(`http://127.0.0.1:${server.port}${take.path}`, { method: 'POST', body })
  }
  expect((await ask(1_000_000)).status).toBe(200)
  expect((await ask(1_000_000, true)).status).toBe(200)
  held.length = 0

  const slow = [1, 2].map(() => begin(server.port!, 1_900_000, 600_000))
  await until(() => total() >= 1_200_000)
  const refused = await ask(1_000_000)
  expect([refused.status, await refused.json()]).toMatchObject([503, { errcode: 'M_UNKNOWN' }])
  expect(Number(refused.headers.get('retry-after'))).toBeGreaterThan(0)
  // Small ones are never refused for it.
  expect((await ask(100_000)).status).toBe(200)

  for (const socket of slow) socket.destroy()
  await until(async () => (await ask(1_000_000)).status === 200)
})

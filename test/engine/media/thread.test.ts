import { afterAll, expect, test } from 'bun:test'
import { MatrixError } from '#core/error.ts'
import { MediaThread } from '#engine/media/thread.ts'
import { until } from '#test/until.ts'

const faults: Error[] = []
const thread = new MediaThread({
  entry: new URL('./dying-worker.ts', import.meta.url).href,
  onFault: (error) => void faults.push(error),
})
afterAll(() => thread.stop())

const job = (source: string) => ({
  source,
  target: '',
  width: 1,
  height: 1,
  method: 'crop' as const,
  animated: false,
  maxPixels: 1,
})

test('a worker that ends fails what it had to do, and the next call has another one', async () => {
  const refused = { outcome: 'refused', reason: 'no-image' }
  expect(await thread.call('thumbnail', job('good'))).toEqual(refused as never)
  const deadly = await thread.call('thumbnail', job('deadly')).catch((error: unknown) => error)
  expect(deadly).toBeInstanceOf(MatrixError)
  expect((deadly as MatrixError).status).toBe(503)
  await until(() => faults.length > 0)
  expect(await thread.call('thumbnail', job('good'))).toEqual(refused as never)
})

import { expect, test } from 'bun:test'
import { MatrixError, RemoteError } from '#core/error.ts'
import { Channel, type Port, portPair } from '#engine/worker/channel.ts'
import type { Signal } from '#engine/worker/protocol.ts'

type Echo = {
  echo: (text: string) => string
  refuse: () => null
  remote: () => null
  break: () => null
  never: () => null
}
type Back = { twice: (n: number) => number }

const handlers = {
  echo: async (text: string) => text,
  refuse: async (): Promise<null> => {
    throw new MatrixError(429, 'M_LIMIT_EXCEEDED', 'Slow down', { retry_after_ms: 5 })
  },
  remote: async (): Promise<null> => {
    throw new RemoteError('hs2', 502, 'M_UNKNOWN', 'hs2 is ill')
  },
  break: async (): Promise<null> => {
    throw new TypeError('a bug')
  },
  never: () => new Promise<null>(() => {}),
}

const failureOf = (promise: Promise<unknown>): Promise<unknown> =>
  promise.then(
    () => undefined,
    (error: unknown) => error,
  )

test('a call is answered, with the text it was given to the byte', async () => {
  const [near, far] = portPair()
  new Channel(far, handlers)
  const line = new Channel<Echo>(near, {})
  const text = '{"__proto__":1,"10":"\\u0000","2":"💣"}'
  expect(await line.call('echo', text)).toBe(text)
  expect(await Promise.all([line.call('echo', 'a'), line.call('echo', 'b')])).toEqual(['a', 'b'])
})

test('errors for clients and of peers cross as themselves, a bug with its stack', async () => {
  const [near, far] = portPair()
  const faults: string[] = []
  new Channel(far, handlers, { onFault: (error, method) => faults.push(`${method}: ${error}`) })
  const line = new Channel<Echo>(near, {})
  const refused = await failureOf(line.call('refuse'))
  expect(refused).toBeInstanceOf(MatrixError)
  expect(refused).toMatchObject({
    status: 429,
    errcode: 'M_LIMIT_EXCEEDED',
    message: 'Slow down',
    extra: { retry_after_ms: 5 },
  })
  const remote = await failureOf(line.call('remote'))
  expect(remote).toBeInstanceOf(RemoteError)
  expect(remote).toMatchObject({ server: 'hs2', status: 502, errcode: 'M_UNKNOWN' })
  const fault = await failureOf(line.call('break'))
  expect(fault).not.toBeInstanceOf(MatrixError)
  expect(String((fault as Error).stack)).toContain('channel.test.ts')
  expect(faults).toEqual(['break: TypeError: a bug'])
})

test('a call that nobody knows is a fault, also one named like a method of Object', async () => {
  const [near, far] = portPair()
  new Channel(far, handlers)
  const line = new Channel<{ toString: () => null; nope: () => null }>(near, {})
  expect(String(await failureOf(line.call('nope')))).toContain("nothing answers the call 'nope'")
  expect(String(await failureOf(line.call('toString')))).toContain('nothing answers')
})

test('both ends call and answer over one line', async () => {
  const [near, far] = portPair()
  const there = new Channel<Back, Echo>(far, handlers)
  const here = new Channel<Echo, Back>(near, { twice: async (n) => 2 * n })
  expect(await Promise.all([here.call('echo', 'x'), there.call('twice', 21)])).toEqual(['x', 42])
})

test('a call whose deadline passes is refused as unavailable, and a late answer harms nobody', async () => {
  const [near, far] = portPair()
  let answer: (value: null) => void = () => {}
  const late = { never: () => new Promise<null>((resolve) => (answer = resolve)) }
  new Channel(far, late)
  const line = new Channel<Echo>(near, {}, { deadlines: { never: 5 } })
  expect(await failureOf(line.call('never'))).toMatchObject({ status: 503 })
  answer(null)
  await Bun.sleep(1)
  expect(line.waiting).toBe(0)
})

test('a short deadline is kept behind a long one', async () => {
  const [near, far] = portPair()
  new Channel(far, { never: handlers.never, refuse: handlers.never })
  const line = new Channel<Echo>(near, {}, { deadlines: { never: 60_000, refuse: 5 } })
  const long = line.call('never').catch(() => {})
  expect(await failureOf(line.call('refuse'))).toMatchObject({ status: 503 })
  expect(line.waiting).toBe(1)
  line.close('over')
  await long
})

test('closing refuses all that waits and all that comes, as a retryable error', async () => {
  const [near, far] = portPair()
  new Channel(far, handlers)
  const line = new Channel<Echo>(near, {})
  const waiting = failureOf(line.call('never'))
  line.close('the room worker died')
  expect(await waiting).toMatchObject({ status: 503, message: 'the room worker died' })
  expect(await failureOf(line.call('echo', 'x'))).toMatchObject({ status: 503 })
})

test('more calls than may wait are refused at once', async () => {
  const [near, far] = portPair()
  new Channel(far, handlers)
  const line = new Channel<Echo>(near, {}, { maxWaiting: 2 })
  const waiting = [line.call('never'), line.call('never')].map((each) => each.catch(() => 'closed'))
  expect(await failureOf(line.call('echo', 'x'))).toMatchObject({ status: 503 })
  line.close('over')
  expect(await Promise.all(waiting)).toEqual(['closed', 'closed'])
})

test('the frames of one turn cross as one message', async () => {
  const [near, far] = portPair()
  let messages = 0
  const counted: Port = {
    postMessage: (data, transfer) => {
      messages++
      near.postMessage(data, transfer)
    },
    addEventListener: (type, listener) => near.addEventListener(type, listener),
  }
  const signals: Signal[] = []
  new Channel(far, handlers, { onSignal: (signal) => signals.push(signal) })
  const line = new Channel<Echo>(counted, {})
  line.signal({ s: 'rooms-at', positions: [[3, 4]] })
  await Promise.all(Array.from({ length: 50 }, (_, i) => line.call('echo', String(i))))
  expect(messages).toBe(1)
  expect(signals).toEqual([{ s: 'rooms-at', positions: [[3, 4]] }])
})

import { describe, expect, test } from 'bun:test'
import { LinkError } from '#engine/appservice/link.ts'
import { SocketLink } from '#engine/appservice/socket-link.ts'

class Line {
  readonly sent: Record<string, any>[] = []
  readonly closes: [code: number, reason: unknown][] = []
  send = (text: string) => void this.sent.push(JSON.parse(text))
  close = (code: number, reason: string) => void this.closes.push([code, JSON.parse(reason)])

  get last(): Record<string, any> {
    return this.sent.at(-1)!
  }
}

function open(deadlineMs = 60_000) {
  let connects = 0
  const link = new SocketLink({
    hsToken: 'hs',
    clock: () => 1234,
    deadlineMs,
    onConnect: () => connects++,
  })
  const line = new Line()
  link.connected(line)
  const answer = (message: object, on = line) => link.received(on, JSON.stringify(message))
  return { link, line, answer, connects: () => connects }
}

const failure = (promise: Promise<unknown>) =>
  promise.then(
    () => undefined,
    (error: unknown) => error,
  )

describe('an application service that connects', () => {
  test('is told so, and its pings are answered', () => {
    const { link, line, answer, connects } = open()
    expect([link.isUp, connects()]).toEqual([true, 1])
    expect(line.sent).toEqual([{ command: 'connect', status: 'connected' }])
    answer({ id: 7, command: 'ping', data: { timestamp: 1 } })
    expect(line.last).toEqual({ id: 7, command: 'response', data: { timestamp: 1234 } })
    answer({ id: 8, command: 'start_sync', data: {} })
    expect(line.last).toMatchObject({ id: 8, command: 'error', data: { code: 'M_UNRECOGNIZED' } })
    const { length } = line.sent
    // What asks for no answer gets none.
    for (const message of [
      { command: 'bridge_status', data: {} },
      { id: 0, command: 'ping' },
    ])
      answer(message)
    for (const text of ['', 'null', '[]', '{"id":', '{"id":"7","command":"response"}'])
      link.received(line, text)
    expect(line.sent.length).toBe(length)
  })

  test('takes a transaction by answering it, and refuses it by an error', async () => {
    const { link, line, answer } = open()
    const taken = link.deliver('txn-1', '{"events":[{"type":"m.a"}]}')
    const { id } = line.last
    expect(line.last).toEqual({
      id,
      command: 'transaction',
      status: 'ok',
      txn_id: 'txn-1',
      events: [{ type: 'm.a' }],
    })
    answer({ id: id + 1, command: 'response', data: {} })
    answer({ id, command: 'response', data: { txn_id: 'txn-1' } })
    expect(await taken).toBeUndefined()
    const refused = link.deliver('txn-2', '{"events":[]}')
    answer({ id: line.last['id'], command: 'error', data: { message: 'no' } })
    expect(await refused).toEqual({ kind: 'refused', text: '{"message":"no"}' })
    expect(line.closes).toEqual([])
  })

  test('loses its connection when it answers nothing in time', async () => {
    const { link, line } = open(5)
    const error = await failure(link.deliver('txn', '{"events":[]}'))
    expect(error).toBeInstanceOf(LinkError)
    expect(line.closes).toEqual([
      [4002, { command: 'disconnect', status: 'transactions_not_acknowledged' }],
    ])
    expect(link.isUp).toBe(false)
  })

  test('has one connection: a new one takes the place of the one before', async () => {
    const { link, line, answer, connects } = open()
    const pending = failure(link.deliver('txn', '{"events":[]}'))
    const next = new Line()
    link.connected(next)
    expect(line.closes).toEqual([[4001, { command: 'disconnect', status: 'conn_replaced' }]])
    expect(await pending).toBeInstanceOf(LinkError)
    expect(connects()).toBe(2)
    // What the old one still says, and that it ends, counts for nothing.
    link.closed(line)
    answer({ id: 1, command: 'ping' }, line)
    expect([link.isUp, next.sent.length, line.sent.length]).toEqual([true, 1, 2])
    link.closed(next)
    expect(link.isUp).toBe(false)
    expect(await failure(link.deliver('txn', '{"events":[]}'))).toBeInstanceOf(LinkError)
  })

  test('forwards questions to itself, as requests', async () => {
    const { link, line, answer } = open()
    const asked = link.ask({
      method: 'GET',
      path: '/users/%40a%3Ab',
      query: '?x=1',
      deadlineMs: 60_000,
    })
    expect(line.last).toMatchObject({
      command: 'http_proxy',
      data: {
        method: 'GET',
        path: '/_matrix/app/v1/users/%40a%3Ab',
        escaped_path: true,
        query: 'x=1',
        headers: { Authorization: ['Bearer hs'] },
        body: null,
      },
    })
    answer({
      id: line.last['id'],
      command: 'response',
      data: { status: 200, headers: {}, body: { ok: 1 } },
    })
    expect(await asked).toEqual({ status: 200, body: '{"ok":1}' })
    const unknown = link.ask({ method: 'POST', path: '/ping', body: '{"a":1}', deadlineMs: 60_000 })
    expect(line.last['data'].body).toEqual({ a: 1 })
    answer({ id: line.last['id'], command: 'error', data: { message: 'unknown request type' } })
    expect((await unknown).status).toBe(501)
  })

  test('is told that the server stops, and let in no more', () => {
    const { link, line } = open()
    link.stop()
    expect(line.closes).toEqual([[1012, { command: 'disconnect', status: 'server_shutting_down' }]])
    const late = new Line()
    link.connected(late)
    expect([late.closes.length, link.isUp]).toEqual([1, false])
  })
})

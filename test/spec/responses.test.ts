import { describe, expect, test } from 'bun:test'
import type { AnyOp, Method } from '#api/http/op.ts'
import { AnswerCheck } from '#test/spec/responses.ts'
import { describedIn } from '#test/spec/ledger.ts'

const op = (method: Method, path: string) => ({ id: 'x', method, path }) as unknown as AnyOp
const things = op('GET', '/_matrix/client/v3/things/:thingId')

const answer = (status: number, body: unknown, contentType = 'application/json') => ({
  status,
  contentType,
  text: JSON.stringify(body),
})

describe('the check of answers', () => {
  const check = new AnswerCheck(new URL('example', import.meta.url).pathname)
  const faultOf = (status: number, body: unknown, of = things) =>
    check.faultOf(of, answer(status, body))

  test('finds nothing wrong with an answer as it is described, across files', async () => {
    expect(await faultOf(200, { thing: { name: 'a' }, event: { type: 't' } })).toBeUndefined()
    expect(await faultOf(200, { thing: { name: 'a', more: 1 }, event: {} })).toBeUndefined()
  })

  test('names what is missing, or of another type', async () => {
    expect(await faultOf(200, {})).toContain("must have required property 'thing'")
    expect(await faultOf(200, { thing: { name: 1 } })).toBe('body/thing/name must be string')
    expect(await faultOf(200, { thing: { name: 'a', size: 1.5 } })).toContain('must be integer')
  })

  test('finds a status that the spec does not know', async () => {
    expect(await faultOf(204, {})).toBe('The spec knows no status 204')
  })

  test('holds every error to errcode and error, described or not', async () => {
    const error = { errcode: 'M_FORBIDDEN', error: 'No' }
    expect(await faultOf(403, error)).toBeUndefined()
    expect(await faultOf(418, error)).toBeUndefined()
    expect(await faultOf(418, { error: 'No' })).toContain('no standard error')
    expect(await faultOf(403, { errcode: 'M_FORBIDDEN' })).toContain('no standard error')
    const unknown = op('GET', '/_matrix/client/v3/nothing')
    expect(await faultOf(404, {}, unknown)).toContain('no standard error')
    expect(await faultOf(200, {}, unknown)).toBeUndefined()
  })

  test('holds an error to its own schema too', async () => {
    const error = { errcode: 'M_LIMIT_EXCEEDED', error: 'Wait' }
    expect(await faultOf(429, error)).toContain("required property 'retry_after_ms'")
    expect(await faultOf(429, { ...error, retry_after_ms: 1 })).toBeUndefined()
  })

  test('lets a request for more authentication pass as what it is', async () => {
    const flows = { flows: [{ stages: ['m.login.dummy'] }], session: 's' }
    expect(await faultOf(401, flows)).toBeUndefined()
    expect(await faultOf(401, { session: 's' })).toContain("required property 'flows'")
  })

  test('lets no token, or no good one, be said before that', async () => {
    const error = { errcode: 'M_MISSING_TOKEN', error: 'No token' }
    expect(await faultOf(401, error)).toBeUndefined()
    expect(await faultOf(401, { ...error, error: 1 })).toContain('no standard error')
  })

  test('wants JSON where the spec says JSON', async () => {
    expect(await check.faultOf(things, answer(200, {}, 'text/html'))).toContain("not 'text/html'")
  })
})

const folder = process.env['LANEWAY_SPEC']
if (folder)
  test('every schema of an answer in the official files can be compiled', async () => {
    const check = new AnswerCheck(folder)
    const broken: string[] = []
    for (const { row, place } of await describedIn(folder))
      for (const status of Object.keys(place.operation.responses))
        await check
          .faultOf(op(row.method as Method, row.path), {
            ...answer(Number(status), { errcode: 'M_X', error: 'x' }),
          })
          .catch((error: unknown) => broken.push(`${row.operationId} ${status}: ${String(error)}`))
    expect(broken).toEqual([])
  })

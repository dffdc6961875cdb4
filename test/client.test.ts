import { expect, test } from 'bun:test'
import { op } from '#api/http/op.ts'
import { json } from '#api/http/reply.ts'
import { noAppservices } from '#core/appservice.ts'
import type { Context } from '#src/context.ts'
import { Client } from '#test/client.ts'
import { checkAnswer, summary, answersChecked } from '#test/spec/responses.ts'

const ctx = {
  appservices: noAppservices,
  tokens: {
    find: (token: string) => ({ userId: `@${token}:test`, deviceId: 'D', admin: false }),
    sight: () => {},
  },
  clock: () => 0,
  log: { isLevelEnabled: () => false, error: () => {} },
} as unknown as Context

/** An operation of nobody's spec. */
const echo = op({
  id: 'echo',
  method: 'POST',
  path: '/_laneway/echo/:status',
  auth: 'userOptional',
  run: ({ who, request }) =>
    json(Number(request.path.split('/').at(-1)), { who: who?.userId ?? null }),
})
const client = Client.of(ctx, { ops: [echo] })

test('a client asks as nobody, or as the owner of a token', async () => {
  expect(await client.post('/_laneway/echo/200')).toMatchObject({
    status: 200,
    body: { who: null },
  })
  const { body } = await client.as('ann').post('/_laneway/echo/201', { n: 1 })
  expect(body).toEqual({ who: '@ann:test' })
})

test('an error that is no standard error fails the test that asked', async () => {
  const asked = client.post('/_laneway/echo/404')
  await asked.then(
    () => expect.unreachable(),
    (error: Error) => expect(error.message).toContain('echo answered 404: The answer 404 is no'),
  )
})

test('answers are counted, and those that nobody waited for are told at the end', async () => {
  checkAnswer(echo, Response.json({ error: 'no code' }, { status: 500 }))
  expect(summary()).toMatch(/^\d+ responses /)
  await expect(answersChecked()).rejects.toThrow('echo answered 500')
  await answersChecked()
})

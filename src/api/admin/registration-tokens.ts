import { Type as t } from '@sinclair/typebox'
import { op } from '#api/http/op.ts'
import { invalidParam, notFound } from '#core/error.ts'
import { open } from '#core/schema.ts'
import { lettersAndDigits, randomText } from '#engine/user/random-text.ts'
import * as registrationTokens from '#store/user/registration-tokens.ts'
import type { Context } from '#src/context.ts'

// Tokens to register with, in the form that known tools speak.

const path = '/_synapse/admin/v1/registration_tokens'
const params = open({ token: t.String() })
const Uses = t.Optional(t.Union([t.Integer({ minimum: 0, maximum: 2 ** 31 - 1 }), t.Null()]))
const Expiry = t.Optional(
  t.Union([t.Integer({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER }), t.Null()]),
)
const Token = open({ token: t.String(), pending: t.Integer(), completed: t.Integer() })

/** Spec: client-server-api/#token-authenticated-registration */
const grammar = /^[A-Za-z0-9._~-]{1,64}$/

async function show(ctx: Context, token: string) {
  const found = grammar.test(token)
    ? await registrationTokens.get(ctx.sql, token, ctx.clock())
    : undefined
  if (!found) throw notFound(`There is no registration token '${token}'`)
  return found
}

function requireFuture(ctx: Context, expiry: number | null | undefined): void {
  if (typeof expiry === 'number' && expiry < ctx.clock())
    throw invalidParam("'expiry_time' is in the past")
}

export const listRegistrationTokens = op({
  id: 'listRegistrationTokens',
  method: 'GET',
  path,
  auth: 'admin',
  query: open({ valid: t.Optional(t.Boolean()) }),
  response: open({ registration_tokens: t.Array(Token) }),

  async run({ query: { valid } }, ctx) {
    const rows = await registrationTokens.list(ctx.sql, ctx.clock(), valid)
    return { registration_tokens: [...rows] }
  },
})

export const makeRegistrationToken = op({
  id: 'makeRegistrationToken',
  method: 'POST',
  path: `${path}/new`,
  auth: 'admin',
  body: open({
    token: t.Optional(t.Union([t.String(), t.Null()])),
    uses_allowed: Uses,
    expiry_time: Expiry,
    length: t.Optional(t.Integer({ minimum: 1, maximum: 64 })),
  }),
  response: Token,

  async run({ body }, ctx) {
    const { uses_allowed: usesAllowed = null, expiry_time: expiresAt = null, length = 16 } = body
    requireFuture(ctx, expiresAt)
    const token = body.token ?? randomText(lettersAndDigits, length)
    if (!grammar.test(token))
      throw invalidParam("'token' has 1 to 64 of the characters A-Z a-z 0-9 . _ ~ -")
    const row = { token, usesAllowed, expiresAt, createdAt: ctx.clock() }
    if (!(await registrationTokens.add(ctx.sql, row)))
      throw invalidParam('There is such a token already')
    return show(ctx, token)
  },
})

export const getRegistrationToken = op({
  id: 'getRegistrationToken',
  method: 'GET',
  path: `${path}/:token`,
  auth: 'admin',
  params,
  response: Token,
  run: ({ params: { token } }, ctx) => show(ctx, token),
})

export const putRegistrationToken = op({
  id: 'putRegistrationToken',
  method: 'PUT',
  path: `${path}/:token`,
  auth: 'admin',
  params,
  body: open({ uses_allowed: Uses, expiry_time: Expiry }),
  response: Token,

  async run({ params: { token }, body }, ctx) {
    requireFuture(ctx, body.expiry_time)
    await show(ctx, token)
    await registrationTokens.change(ctx.sql, token, {
      ...(body.uses_allowed !== undefined && { usesAllowed: body.uses_allowed }),
      ...(body.expiry_time !== undefined && { expiresAt: body.expiry_time }),
    })
    return show(ctx, token)
  },
})

export const deleteRegistrationToken = op({
  id: 'deleteRegistrationToken',
  method: 'DELETE',
  path: `${path}/:token`,
  auth: 'admin',
  params,

  async run({ params: { token } }, ctx) {
    await show(ctx, token)
    await registrationTokens.remove(ctx.sql, token)
    return {}
  },
})

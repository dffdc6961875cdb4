import { createHash } from 'node:crypto'
import { Type as t } from '@sinclair/typebox'
import { op } from '#api/http/op.ts'
import { jsonText } from '#api/http/reply.ts'
import { badJson, forbidden, notFound } from '#core/error.ts'
import { parseFilter } from '#core/filter.ts'
import { Content, open } from '#core/schema.ts'
import * as filters from '#store/user/filters.ts'

export const defineFilter = op({
  id: 'defineFilter',
  method: 'POST',
  path: '/_matrix/client/v3/user/:userId/filter',
  also: ['/_matrix/client/r0/user/:userId/filter'],
  auth: 'user',
  admits: ['suspended'],
  limit: 'change',
  maxBytes: 64 * 1024,
  params: open({ userId: t.String() }),
  body: Content,
  response: open({ filter_id: t.String() }),

  async run({ who, params, body }, ctx) {
    if (params.userId !== who.userId) throw forbidden('A filter is made for oneself')
    const filter = parseFilter(body)
    if (typeof filter === 'string') throw badJson(filter)
    const definition = JSON.stringify(body)
    // Of the hash, so that a client that makes the same one at every start gets the same one.
    const filterId = createHash('sha256').update(definition).digest('base64url').slice(0, 16)
    await filters.add(ctx.sql, who.userId, filterId, definition)
    return { filter_id: filterId }
  },
})

export const getFilter = op({
  id: 'getFilter',
  method: 'GET',
  path: '/_matrix/client/v3/user/:userId/filter/:filterId',
  also: ['/_matrix/client/r0/user/:userId/filter/:filterId'],
  auth: 'user',
  params: open({ userId: t.String(), filterId: t.String() }),

  async run({ who, params }, ctx) {
    if (params.userId !== who.userId) throw forbidden('The filters of other users are theirs')
    const definition = await filters.get(ctx.sql, who.userId, params.filterId)
    if (definition === undefined) throw notFound('There is no such filter')
    return jsonText(definition)
  },
})

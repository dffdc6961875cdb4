import { Type as t } from '@sinclair/typebox'
import { op } from '#api/http/op.ts'
import { notFound } from '#core/error.ts'
import { Content, open } from '#core/schema.ts'
import type { Context } from '#src/context.ts'

const protocolParams = open({ protocol: t.String() })

const unknownProtocol = (protocol: string) =>
  notFound(`The protocol '${protocol}' is not known here`)

export const getProtocols = op({
  id: 'getProtocols',
  method: 'GET',
  path: '/_matrix/client/v3/thirdparty/protocols',
  also: ['/_matrix/client/r0/thirdparty/protocols'],
  auth: 'user',
  limit: 'lookup',
  response: Content,
  run: (_, ctx) => ctx.bridges.questions.protocols(),
})

export const getProtocolMetadata = op({
  id: 'getProtocolMetadata',
  method: 'GET',
  path: '/_matrix/client/v3/thirdparty/protocol/:protocol',
  also: ['/_matrix/client/r0/thirdparty/protocol/:protocol'],
  auth: 'user',
  limit: 'lookup',
  params: protocolParams,
  response: Content,

  async run({ params: { protocol } }, ctx) {
    const told = await ctx.bridges.questions.protocol(protocol)
    if (!told) throw unknownProtocol(protocol)
    return told
  },
})

export const queryLocationByProtocol = op({
  id: 'queryLocationByProtocol',
  method: 'GET',
  path: '/_matrix/client/v3/thirdparty/location/:protocol',
  also: ['/_matrix/client/r0/thirdparty/location/:protocol'],
  auth: 'user',
  limit: 'lookup',
  params: protocolParams,
  response: t.Array(Content),
  run: ({ params, request }, ctx) => find(ctx, 'location', params.protocol, request.query),
})

export const queryUserByProtocol = op({
  id: 'queryUserByProtocol',
  method: 'GET',
  path: '/_matrix/client/v3/thirdparty/user/:protocol',
  also: ['/_matrix/client/r0/thirdparty/user/:protocol'],
  auth: 'user',
  limit: 'lookup',
  params: protocolParams,
  response: t.Array(Content),
  run: ({ params, request }, ctx) => find(ctx, 'user', params.protocol, request.query),
})

/** What of the query is for us, and nobody else's business. */
const ours = ['access_token', 'user_id', 'device_id', 'org.matrix.msc3202.device_id']

async function find(
  ctx: Context,
  kind: 'location' | 'user',
  protocol: string,
  query: URLSearchParams,
) {
  const fields = new URLSearchParams(query)
  for (const name of ours) fields.delete(name)
  const found = await ctx.bridges.questions.inNetwork(kind, protocol, fields)
  if (!found) throw unknownProtocol(protocol)
  return found
}

export const queryLocationByAlias = op({
  id: 'queryLocationByAlias',
  method: 'GET',
  path: '/_matrix/client/v3/thirdparty/location',
  also: ['/_matrix/client/r0/thirdparty/location'],
  auth: 'user',
  limit: 'lookup',
  query: open({ alias: t.String() }),
  response: t.Array(Content),
  run: ({ query: { alias } }, ctx) => ctx.bridges.questions.behind('location', alias),
})

export const queryUserByID = op({
  id: 'queryUserByID',
  method: 'GET',
  path: '/_matrix/client/v3/thirdparty/user',
  also: ['/_matrix/client/r0/thirdparty/user'],
  auth: 'user',
  limit: 'lookup',
  query: open({ userid: t.String() }),
  response: t.Array(Content),
  run: ({ query: { userid } }, ctx) => ctx.bridges.questions.behind('user', userid),
})

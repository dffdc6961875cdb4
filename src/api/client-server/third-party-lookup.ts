import { Type as t } from '@sinclair/typebox'
import { op } from '#api/http/op.ts'
import { notFound } from '#core/error.ts'
import { Content, open } from '#core/schema.ts'

// Bridges are not asked what they know: there is no protocol that could be looked into.
const protocolParams = open({ protocol: t.String() })

const unknownProtocol = (protocol: string) =>
  notFound(`The protocol '${protocol}' is not known here`)

export const getProtocols = op({
  id: 'getProtocols',
  method: 'GET',
  path: '/_matrix/client/v3/thirdparty/protocols',
  also: ['/_matrix/client/r0/thirdparty/protocols'],
  auth: 'user',
  response: Content,
  run: () => ({}),
})

export const getProtocolMetadata = op({
  id: 'getProtocolMetadata',
  method: 'GET',
  path: '/_matrix/client/v3/thirdparty/protocol/:protocol',
  also: ['/_matrix/client/r0/thirdparty/protocol/:protocol'],
  auth: 'user',
  params: protocolParams,
  run({ params }) {
    throw unknownProtocol(params.protocol)
  },
})

export const queryLocationByProtocol = op({
  id: 'queryLocationByProtocol',
  method: 'GET',
  path: '/_matrix/client/v3/thirdparty/location/:protocol',
  also: ['/_matrix/client/r0/thirdparty/location/:protocol'],
  auth: 'user',
  params: protocolParams,
  run({ params }) {
    throw unknownProtocol(params.protocol)
  },
})

export const queryUserByProtocol = op({
  id: 'queryUserByProtocol',
  method: 'GET',
  path: '/_matrix/client/v3/thirdparty/user/:protocol',
  also: ['/_matrix/client/r0/thirdparty/user/:protocol'],
  auth: 'user',
  params: protocolParams,
  run({ params }) {
    throw unknownProtocol(params.protocol)
  },
})

export const queryLocationByAlias = op({
  id: 'queryLocationByAlias',
  method: 'GET',
  path: '/_matrix/client/v3/thirdparty/location',
  also: ['/_matrix/client/r0/thirdparty/location'],
  auth: 'user',
  query: open({ alias: t.String() }),
  response: t.Array(Content),
  run: () => [],
})

export const queryUserByID = op({
  id: 'queryUserByID',
  method: 'GET',
  path: '/_matrix/client/v3/thirdparty/user',
  also: ['/_matrix/client/r0/thirdparty/user'],
  auth: 'user',
  query: open({ userid: t.String() }),
  response: t.Array(Content),
  run: () => [],
})

import { createHmac } from 'node:crypto'
import { Type as t } from '@sinclair/typebox'
import { op } from '#api/http/op.ts'
import { notFound } from '#core/error.ts'
import { open } from '#core/schema.ts'

/** The relay checks the name and its end itself: both sides know the secret. */
export const getTurnServer = op({
  id: 'getTurnServer',
  method: 'GET',
  path: '/_matrix/client/v3/voip/turnServer',
  also: ['/_matrix/client/r0/voip/turnServer'],
  auth: 'user',
  limit: 'lookup',
  response: open({
    username: t.String(),
    password: t.String(),
    uris: t.Array(t.String()),
    ttl: t.Integer(),
  }),

  run({ who: { userId } }, { config, clock }) {
    const { uris, shared_secret: secret, credential_seconds: ttl } = config.calls
    if (uris.length === 0 || secret === undefined)
      throw notFound('This server knows no relay for calls')
    const username = `${Math.floor(clock() / 1000) + ttl}:${userId}`
    const password = createHmac('sha1', secret).update(username).digest('base64')
    return { username, password, uris: [...uris], ttl }
  },
})

import { Type as t } from '@sinclair/typebox'
import { parseJson } from '#core/canonical-json.ts'
import { invalidParam } from '#core/error.ts'
import { isServerName } from '#core/ids.ts'
import { isObject, type JsonObject } from '#core/json.ts'
import { open, record } from '#core/schema.ts'
import { signJson } from '#core/signing.ts'
import { op } from '#api/http/op.ts'
import type { WantedKey } from '#engine/worker/protocol.ts'
import type { Context } from '#src/context.ts'

/** Not spec: servers that one call may ask about; each may cost a request. */
const maxServers = 100
const maxKeysPerServer = 20
const deadlineMs = 10_000

export const perspectivesKeyQuery = op({
  id: 'perspectivesKeyQuery',
  method: 'GET',
  path: '/_matrix/key/v2/query/:serverName',
  auth: 'none',
  limit: 'lookup',
  params: open({ serverName: t.String() }),
  query: open({ minimum_valid_until_ts: t.Optional(t.Integer({ minimum: 0 })) }),

  async run({ params: { serverName: server }, query }, ctx) {
    if (!isServerName(server)) throw invalidParam(`'${server}' is not a server name`)
    const minimumValidUntilTs = query.minimum_valid_until_ts ?? ctx.clock()
    return answer(ctx, [{ server, keyIds: [], minimumValidUntilTs }])
  },
})

const Criteria = open({ minimum_valid_until_ts: t.Optional(t.Integer({ minimum: 0 })) })

export const bulkPerspectivesKeyQuery = op({
  id: 'bulkPerspectivesKeyQuery',
  method: 'POST',
  path: '/_matrix/key/v2/query',
  auth: 'none',
  limit: 'lookup',
  body: open({ server_keys: record(record(Criteria)) }),

  async run({ body }, ctx) {
    const entries = Object.entries(body.server_keys).filter(([server]) => isServerName(server))
    if (entries.length > maxServers)
      throw invalidParam(`The keys of more than ${maxServers} servers are asked for`)
    const now = ctx.clock()
    const wanted = entries.map(([server, criteria]): WantedKey => {
      const keys = Object.entries(criteria).slice(0, maxKeysPerServer)
      const times = keys.map(([, { minimum_valid_until_ts: time = now }]) => time)
      return {
        server,
        keyIds: keys.map(([keyId]) => keyId),
        minimumValidUntilTs: times.length > 0 ? Math.max(...times) : now,
      }
    })
    return answer(ctx, wanted)
  },
})

/** What servers say of their keys, with our signature beside theirs. */
async function answer(ctx: Context, wanted: WantedKey[]): Promise<{ server_keys: JsonObject[] }> {
  const documents = await ctx.federation.call('keyDocuments', wanted, deadlineMs)
  return {
    server_keys: documents.flatMap((text) => {
      const document = parseJson(text)
      return isObject(document) ? [signJson(document, ctx.serverName, ctx.signingKey)] : []
    }),
  }
}

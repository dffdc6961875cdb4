import { notFound } from '#core/error.ts'
import { op } from '#api/http/op.ts'

export const getWellKnown = op({
  id: 'getWellKnown',
  method: 'GET',
  path: '/.well-known/matrix/server',
  auth: 'none',

  run(_input, ctx) {
    const { delegate_to: delegate } = ctx.config.federation
    if (delegate === undefined) throw notFound('This server is where its name says')
    return { 'm.server': delegate }
  },
})

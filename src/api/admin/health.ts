import { op } from '#api/http/op.ts'
import { json } from '#api/http/reply.ts'
import { readiness } from '#api/http/readiness.ts'

/** That it answers says that it is alive; the status says whether it can serve. */
export const getHealth = op({
  id: 'getHealth',
  method: 'GET',
  path: '/health',
  everywhere: true,
  head: true,
  auth: 'none',
  run: async (_input, ctx) => json(...readiness(await ctx.seeing.unready())),
})

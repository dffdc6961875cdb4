import { op } from '#api/http/op.ts'
import { Reply } from '#api/http/reply.ts'

/** Everything that is measured, as Prometheus reads it. */
export const getMetrics = op({
  id: 'getMetrics',
  method: 'GET',
  path: '/_laneway/metrics',
  auth: 'scraper',

  async run(_input, ctx) {
    const headers = { 'content-type': 'text/plain; version=0.0.4; charset=utf-8' }
    return new Reply(200, await ctx.seeing.metrics(), headers)
  },
})

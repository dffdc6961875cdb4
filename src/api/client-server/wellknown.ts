import { wellKnown } from '#api/client-server/wellknown/answer.ts'
import { op } from '#api/http/op.ts'
import { notFound } from '#core/error.ts'

export const getWellknown = op({
  id: 'getWellknown',
  method: 'GET',
  path: '/.well-known/matrix/client',
  auth: 'none',

  run(_, ctx) {
    const answer = wellKnown(ctx)
    if (!answer) throw notFound('This server does not say where clients find it')
    return answer
  },
})

import { op } from '#api/http/op.ts'
import { notFound } from '#core/error.ts'

export const getWellknownSupport = op({
  id: 'getWellknownSupport',
  method: 'GET',
  path: '/.well-known/matrix/support',
  auth: 'none',

  run(_, { config: { support } }) {
    const { contacts, page } = support
    // Spec: client-server-api/#getwell-knownmatrixsupport; one of the two must be there.
    if (contacts.length === 0 && page === undefined)
      throw notFound('This server names nobody to ask')
    return {
      ...(contacts.length > 0 && { contacts }),
      ...(page !== undefined && { support_page: page }),
    }
  },
})

import { MatrixError } from '#core/error.ts'

/** Not spec: this server asks no identity server, so it cannot invite by address. */
export const noThirdParties = () =>
  new MatrixError(
    403,
    'M_THREEPID_DENIED',
    'This server does not invite by email address or phone number',
  )

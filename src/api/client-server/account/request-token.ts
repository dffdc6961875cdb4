import { type Static, Type as t } from '@sinclair/typebox'
import { MatrixError } from '#core/error.ts'
import { open } from '#core/schema.ts'
import { emailAddress } from '#engine/user/identifier.ts'
import type { Purpose } from '#engine/user/uia/flows.ts'
import type { Context } from '#src/context.ts'

/** Spec: client-server-api/definitions/request_email_validation */
export const EmailRequest = open({
  client_secret: t.String(),
  email: t.String(),
  send_attempt: t.Integer({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER }),
  next_link: t.Optional(t.String()),
})

export const PhoneRequest = open({
  client_secret: t.String(),
  country: t.String(),
  phone_number: t.String(),
  send_attempt: t.Integer(),
})

/** What is wanted of somebody's mail is held to their budget, too, whoever asks. */
export async function requestToken(
  ctx: Context,
  purpose: Purpose,
  body: Static<typeof EmailRequest>,
): Promise<{ sid: string }> {
  const address = emailAddress(body.email)
  if (address !== undefined && ctx.emails.enabled) ctx.limits.take('registration', `to ${address}`)
  const sid = await ctx.emails.request({
    purpose,
    email: body.email,
    clientSecret: body.client_secret,
    sendAttempt: body.send_attempt,
    nextLink: body.next_link,
  })
  return { sid }
}

/** No text messages are sent here. */
export function refusePhone(): never {
  throw new MatrixError(
    400,
    'M_THREEPID_MEDIUM_NOT_SUPPORTED',
    'This server cannot validate phone numbers',
  )
}

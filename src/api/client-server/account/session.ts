import { Type as t } from '@sinclair/typebox'
import type { Device, SessionTokens } from '#engine/user/accounts.ts'

/** What whoever begins a session may say of it. */
export const deviceFields = {
  device_id: t.Optional(t.String()),
  initial_device_display_name: t.Optional(t.String()),
  /** The client can refresh its access token. */
  refresh_token: t.Optional(t.Boolean()),
}

type Body = {
  device_id?: string
  initial_device_display_name?: string
  refresh_token?: boolean
}

/** The device of a new session, as a request describes it. */
export const deviceIn = (body: Body): Device => ({
  ...(body.device_id !== undefined && { deviceId: body.device_id }),
  ...(body.initial_device_display_name !== undefined && {
    displayName: body.initial_device_display_name,
  }),
  refreshable: body.refresh_token === true,
})

/** A new session as it is told. */
export const writeSession = (session: SessionTokens) => ({
  access_token: session.accessToken,
  device_id: session.deviceId,
  ...writeLifetime(session),
})

export const writeLifetime = ({ refreshToken, expiresInMs }: SessionTokens) => ({
  ...(refreshToken !== undefined && { refresh_token: refreshToken }),
  ...(expiresInMs !== undefined && { expires_in_ms: expiresInMs }),
})

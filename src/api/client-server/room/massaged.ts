import { Type as t } from '@sinclair/typebox'
import type { LocalEvent } from '#engine/worker/protocol.ts'
import type { Session } from '#engine/user/access-tokens.ts'

/** What `origin_server_ts` may be. */
export const Timestamp = t.Optional(t.Integer({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER }))

/**
 * The time that an application service gives to an event; of others it counts for nothing.
 *
 * Spec: application-service-api/#timestamp-massaging
 */
export const massaged = (who: Session, ts: number | undefined): Pick<LocalEvent, 'timestamp'> =>
  who.appservice && ts !== undefined ? { timestamp: ts } : {}

import { type Static, type TObject, type TProperties, Type as t } from '@sinclair/typebox'

/**
 * An object that keeps the keys we do not know. Matrix signs, hashes and relays them, so every
 * schema in this house is built with `open`; Elysia would strip or refuse them otherwise.
 */
export const open = <P extends TProperties>(properties: P): TObject<P> =>
  t.Object(properties, { additionalProperties: true })

export const UserId = t.String({ pattern: '^@' })
export const RoomId = t.String({ pattern: '^!' })
export const RoomAlias = t.String({ pattern: '^#' })
export const EventId = t.String({ pattern: '^\\$' })
export const Content = t.Record(t.String(), t.Unknown())

export type Content = Static<typeof Content>

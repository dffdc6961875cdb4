import {
  type ObjectOptions,
  type Static,
  type TObject,
  type TProperties,
  type TSchema,
  Type as t,
} from '@sinclair/typebox'

/**
 * An object that keeps the keys we do not know. Matrix signs, hashes and relays them, so every
 * schema in this house is built with `open`; Elysia would strip or refuse them otherwise.
 */
export const open = <P extends TProperties>(properties: P): TObject<P> =>
  t.Object(properties, { additionalProperties: true })

/**
 * An object with keys of any kind and values of one. The pattern is named because that of the library
 * ends at a line break, and leaves what such a key holds unchecked.
 */
export const record = <V extends TSchema>(value: V, options?: ObjectOptions) =>
  t.Record(t.String({ pattern: '^[^]*$' }), value, options)

export const UserId = t.String({ pattern: '^@' })
export const RoomId = t.String({ pattern: '^!' })
export const RoomAlias = t.String({ pattern: '^#' })
export const EventId = t.String({ pattern: '^\\$' })
export const Content = record(t.Unknown())

export type Content = Static<typeof Content>

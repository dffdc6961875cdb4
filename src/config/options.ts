import { type TProperties, Type as t } from '@sinclair/typebox'

/** What options are made of: a schema each, with its description and its default. */

/** A table of the file, which is there with its defaults when the file leaves it out. */
export const section = <P extends TProperties>(description: string, properties: P) =>
  t.Object(properties, { description, default: {}, additionalProperties: false })

export const texts = (
  description: string,
  more: { default?: string[]; examples?: string[][] } = {},
) => t.Array(t.String(), { description, default: [], ...more })

export const flag = (value: boolean, description: string) =>
  t.Boolean({ description, default: value })

export const whole = (value: number, minimum: number, maximum: number, description: string) =>
  t.Integer({ description, default: value, minimum, maximum })

export const seconds = (value: number, minimum: number, maximum: number, description: string) =>
  t.Number({ description, default: value, minimum, maximum })

export const oneOf = <const T extends string>(
  values: readonly T[],
  description: string,
  more = {},
) =>
  t.Union(
    values.map((value) => t.Literal(value)),
    { description, ...more },
  )

/** Not reachable from the internet, and so not to be reached through us (IANA special-purpose). */
export const privateRanges = [
  '0.0.0.0/8 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 169.254.0.0/16 172.16.0.0/12 192.0.0.0/24',
  '192.0.2.0/24 192.88.99.0/24 192.168.0.0/16 198.18.0.0/15 198.51.100.0/24 203.0.113.0/24',
  '224.0.0.0/4 240.0.0.0/4 ::/128 ::1/128 64:ff9b:1::/48 100::/64 2001:2::/48 2001:db8::/32',
  'fc00::/7 fe80::/10 fec0::/10 ff00::/8',
].flatMap((line) => line.split(' '))

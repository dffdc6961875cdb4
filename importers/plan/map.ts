import { type Static, Type as t } from '@sinclair/typebox'
import { Value } from '@sinclair/typebox/value'
import { parse } from 'smol-toml'
import { Stop } from '#importers/stop.ts'

const schema = t.Object({
  users: t.Optional(t.Record(t.String(), t.String())),
  rooms: t.Optional(t.Record(t.String(), t.String())),
})

/** People and rooms of an export by ID or name, and what they are here. */
export type PlanMap = Static<typeof schema>

/** Reads `--map`. */
export async function readMap(path: string | undefined): Promise<PlanMap> {
  if (path === undefined) return {}
  let value: unknown
  try {
    value = parse(await Bun.file(path).text())
  } catch (error) {
    throw new Stop(`The map ${path} cannot be read: ${String(error)}`)
  }
  if (!Value.Check(schema, value))
    throw new Stop(`The map ${path} is to have [users] and [rooms] with texts`)
  return value
}

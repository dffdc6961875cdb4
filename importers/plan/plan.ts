import { type Static, Type as t } from '@sinclair/typebox'
import { Value } from '@sinclair/typebox/value'
import { parse, stringify } from 'smol-toml'
import { Stop } from '#importers/stop.ts'

const mode = t.Union([
  t.Literal('fresh'),
  t.Literal('archive'),
  t.Literal('insert'),
  t.Literal('append'),
])

const planSchema = t.Object(
  {
    export: t.Object(
      {
        path: t.String(),
        format: t.String(),
        source: t.String({ minLength: 1, maxLength: 255 }),
        timezone: t.Optional(t.String()),
      },
      { additionalProperties: false },
    ),
    server: t.Object({ url: t.String() }, { additionalProperties: false }),
    people: t.Object(
      {
        mode: t.Union([t.Literal('real'), t.Literal('ghosts'), t.Literal('profile')]),
        prefix: t.String({ pattern: '^[a-z0-9._=/+-]+$' }),
        map: t.Record(t.String(), t.String({ pattern: '^(@.+:.+|ghost|skip)$' })),
      },
      { additionalProperties: false },
    ),
    rooms: t.Array(
      t.Object(
        {
          from: t.String(),
          to: t.String({ pattern: '^(create|skip|[!#].+)$' }),
          mode,
          why: t.Optional(t.String()),
          name: t.Optional(t.String()),
          topic: t.Optional(t.String()),
          visibility: t.Optional(t.Union([t.Literal('public'), t.Literal('private')])),
          people: t.Optional(
            t.Union([t.Literal('real'), t.Literal('ghosts'), t.Literal('profile')]),
          ),
          /** What the export has of it: for who reads the plan. */
          messages: t.Optional(t.Number()),
          first: t.Optional(t.String()),
          last: t.Optional(t.String()),
        },
        { additionalProperties: false },
      ),
    ),
  },
  { additionalProperties: false },
)

export type Plan = Static<typeof planSchema>
export type PlannedRoom = Plan['rooms'][number]

const heading = `# What is to be imported, where to, and how. Written by \`bun run import plan\`; yours to change.
#
# rooms: \`to\` is "create", "skip", or a room or alias of the server. \`mode\`:
#   fresh    a room without messages
#   archive  a room of its own for the history, linked with the room that \`to\` names
#   insert   into a room, at the place where its times belong
#   append   behind everything that is in the room, with the old times
# people: \`map\` gives people of the export a user of the server, "ghost", or "skip". The others are
#   ghosts (an account each, that nobody can log in to), or with mode = "profile" all are sent by the importer,
#   with a name on each message; mode = "real" leaves out who is not in the map.
`

/** Somebody who is in no map, with how they are called and how much they wrote. */
export type Unmapped = { id: string; called: string; count: number }

/** A plan as it is written to its file, with lines for a map of people that only want to be changed. */
export function planText(plan: Plan, people: readonly Unmapped[] = []): string {
  const lines = people.map(
    ({ id, called, count }) =>
      `# ${JSON.stringify(id)} = "ghost" # ${called && `${called}, `}${count} records`,
  )
  const hint =
    lines.length > 0 ? ['# Nobody here is known for these, the busiest first:', ...lines] : []
  const comments = hint.map((line) => `${printable(line)}\n`).join('')
  const text = stringify(plan).replace('[people.map]\n', (found) => found + comments)
  return `${heading}\n${text}\n`
}

/** What an export calls people may hold anything, and comments of TOML nothing that has no form. */
const printable = (line: string) =>
  Array.from(line, (each) => (each < ' ' || each === '\u007F' ? ' ' : each)).join('')

/** Reads a plan, and says all that is wrong with it. */
export async function readPlan(path: string): Promise<Plan> {
  const file = Bun.file(path)
  if (!(await file.exists()))
    throw new Stop(`There is no plan ${path}: \`bun run import plan EXPORT\` writes one`)
  let value: unknown
  try {
    value = parse(await file.text())
  } catch (error) {
    throw new Stop(`${path} is not TOML: ${String(error)}`)
  }
  if (Value.Check(planSchema, value)) return value
  const faults = [...Value.Errors(planSchema, value)]
    .slice(0, 10)
    .map((each) => `  ${each.path.slice(1).replaceAll('/', '.')}: ${each.message}`)
  throw new Stop(`${path} does not hold a plan:\n${faults.join('\n')}`)
}

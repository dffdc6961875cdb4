import { type Static, type TSchema, Type as t } from '@sinclair/typebox'
import { TypeCompiler } from '@sinclair/typebox/compiler'
import type { Item } from '#importers/format.ts'

/** What a line of our own NDJSON holds; docs/import-ndjson.md tells the meaning of each field. */
const maybe = <T extends TSchema>(schema: T) => t.Optional(schema)
const id = t.String({ minLength: 1, maxLength: 1000 })

const place = t.Object({
  file: t.String(),
  line: maybe(t.Number()),
  offset: maybe(t.Number()),
})
const stamped = {
  room: id,
  id,
  sender: id,
  time: t.Number(),
  order: maybe(t.String({ maxLength: 200 })),
  place: maybe(place),
}
const text = {
  body: t.String(),
  html: maybe(t.String()),
  mentions: maybe(t.Array(id)),
  mentionsRoom: maybe(t.Boolean()),
}
const content = t.Union([
  t.Object({ entry: t.String() }),
  t.Object({ url: t.String(), headers: maybe(t.Record(t.String(), t.String())) }),
])
const file = t.Object({
  name: t.String(),
  content: maybe(content),
  gone: maybe(t.String()),
  type: maybe(t.String()),
  size: maybe(t.Number()),
  width: maybe(t.Number()),
  height: maybe(t.Number()),
  duration: maybe(t.Number()),
  caption: maybe(t.String()),
})

const room = t.Object({
  kind: t.Literal('room'),
  id,
  name: maybe(t.String()),
  topic: maybe(t.String()),
  type: maybe(t.Union([t.Literal('public'), t.Literal('private'), t.Literal('direct')])),
  members: maybe(t.Array(id)),
  created: maybe(t.Number()),
  archived: maybe(t.Boolean()),
})
const person = t.Object({
  kind: t.Literal('person'),
  id,
  username: maybe(t.String()),
  name: maybe(t.String()),
  email: maybe(t.String()),
  avatar: maybe(content),
  bot: maybe(t.Boolean()),
  removed: maybe(t.Boolean()),
})
const message = t.Object({
  kind: t.Literal('message'),
  ...stamped,
  ...text,
  form: maybe(t.Union([t.Literal('text'), t.Literal('notice'), t.Literal('emote')])),
  shownAs: maybe(t.Object({ name: maybe(t.String()), avatar: maybe(content) })),
  thread: maybe(id),
  replyTo: maybe(id),
  files: maybe(t.Array(file)),
  reactions: maybe(
    t.Array(
      t.Object({
        key: t.String(),
        people: t.Array(id),
        time: maybe(t.Number()),
        count: maybe(t.Number()),
      }),
    ),
  ),
  editedAt: maybe(t.Number()),
  earlier: maybe(t.Array(t.Object({ ...text, time: t.Number(), editor: maybe(id) }))),
  pinned: maybe(t.Boolean()),
  deleted: maybe(t.Boolean()),
})
const reaction = t.Object({
  kind: t.Literal('reaction'),
  ...stamped,
  target: id,
  key: t.String(),
})
const edit = t.Object({ kind: t.Literal('edit'), ...stamped, ...text, target: id })
const deletion = t.Object({
  kind: t.Literal('deletion'),
  ...stamped,
  target: id,
  reason: maybe(t.String()),
})
const notice = t.Object({
  kind: t.Literal('notice'),
  ...stamped,
  ...text,
  about: t.Union(
    (['join', 'leave', 'name', 'topic', 'pin', 'call', 'other'] as const).map((about) =>
      t.Literal(about),
    ),
  ),
  replyTo: maybe(id),
  files: maybe(t.Array(file)),
})
const rename = t.Object({
  kind: t.Literal('rename'),
  person: id,
  time: t.Number(),
  name: t.String(),
  before: maybe(t.String()),
})

const kinds = { room, person, message, reaction, edit, deletion, notice, rename }
type Kind = keyof typeof kinds

const checks = new Map(
  Object.entries(kinds).map(([kind, schema]) => [kind, TypeCompiler.Compile(schema)]),
)

/** Whether there are records of this kind. */
export function isKind(kind: string): kind is Kind {
  return checks.has(kind)
}

/** A line as an item, or what is wrong with it. */
export function itemOf(kind: Kind, value: unknown): Item | { wrong: string } {
  const check = checks.get(kind)!
  // Both ways, so that the schema and the type of the interface cannot part.
  if (check.Check(value)) return value satisfies Static<(typeof kinds)[Kind]> as Item
  const error = check.Errors(value).First()
  return { wrong: `${error?.path.slice(1).replaceAll('/', '.')}: ${error?.message}` }
}

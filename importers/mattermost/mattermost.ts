import type { Format, Item, Place, ReadContext, Recognition } from '#importers/format.ts'
import { type Fields, fields, number, text } from '#importers/read/fields.ts'
import { readNdjson } from '#importers/read/ndjson.ts'
import { Scratch } from '#importers/read/scratch.ts'
import type { Source } from '#importers/source.ts'
import { Directory } from './directory.ts'
import { PostReader, seenSchema } from './posts.ts'

/** Mattermost's bulk export: lines of JSON, with the attachments in a folder beside them. */
export const mattermost: Format = {
  name: 'mattermost',
  title: 'Mattermost bulk export',
  recognize,
  read,
}

const isLines = (name: string) => /\.jsonl?$/i.test(name)

async function recognize(source: Source): Promise<Recognition | undefined> {
  for (const { name } of source.entries.filter((entry) => isLines(entry.name)).slice(0, 5)) {
    if (await isBulk(source, name))
      return { sure: 0.95, why: `${name} begins with the version of a bulk export` }
  }
  return undefined
}

/** The version stands in the first line. */
async function isBulk(source: Source, name: string): Promise<boolean> {
  const [line = ''] = new TextDecoder().decode(await source.head(name)).split('\n')
  return /^\uFEFF?\{/.test(line) && /"type"\s*:\s*"version"/.test(line)
}

/** What sets up a server, and says nothing. */
const settings = new Set(['info', 'scheme', 'role', 'emoji'])

async function* read(source: Source, context: ReadContext): AsyncGenerator<Item> {
  using seen = new Scratch(seenSchema)
  const all = source.entries.map(({ name }) => name).filter(isLines)
  const bulk: string[] = []
  for (const name of all) if (await isBulk(source, name)) bulk.push(name)
  // One whose first line is damaged is still to be read when the format was named.
  for (const name of bulk.length ? bulk : all) {
    const directory = new Directory(source, name)
    const posts = new PostReader(directory, seen, context)
    for await (const { value, place } of readNdjson(source, name, context))
      yield* readLine(value, place, directory, posts, context)
    yield* directory.rest()
  }
}

function* readLine(
  line: Fields,
  place: Place,
  directory: Directory,
  posts: PostReader,
  context: ReadContext,
): Generator<Item> {
  const type = text(line, 'type') ?? ''
  const value = fields(line, type)
  switch (type) {
    case 'version':
      if (number(line, 'version') !== 1) {
        const reason = 'It is of another version than 1: some of it may not be understood'
        context.problem({ class: 'unsupported_type', reason, place, done: 'degraded' })
      }
      return
    case 'team':
      return
    case 'channel':
      return directory.addChannel(value)
    case 'user':
      return yield* directory.addUser(value)
    case 'bot':
      return yield* directory.addBot(value)
    case 'direct_channel':
      return directory.addDirect(value)
    case 'post':
    case 'direct_post':
      yield* directory.rest()
      return yield* posts.read(value, place, type === 'direct_post')
    default: {
      if (settings.has(type)) return
      const reason = `Lines of type ${JSON.stringify(type)} are not known`
      context.problem({ class: 'unsupported_type', reason, place, done: 'skipped' })
    }
  }
}

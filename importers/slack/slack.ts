import type { Format, Item, ReadContext, Recognition } from '#importers/format.ts'
import { readJson } from '#importers/read/json.ts'
import type { Source } from '#importers/source.ts'
import { type Conversation, Conversations } from './conversations.ts'
import { MessageReader } from './messages.ts'
import { People } from './people.ts'

/**
 * Slack's own export: lists of conversations and people, and a folder per conversation with a file per
 * day. What slackdump writes has the same layout, with the files beside it.
 */
export const slack: Format = {
  name: 'slack',
  title: 'Slack export',
  recognize,
  read,
}

const dayFile = /(?:^|\/)([^/]+)\/\d{4}-\d{2}-\d{2}\.json$/

function recognize(source: Source): Promise<Recognition | undefined> {
  const names = source.entries.map((entry) => entry.name)
  const lists = names.filter((name) => /(^|\/)(channels|groups|dms|mpims)\.json$/.test(name))
  const people = names.find((name) => /(^|\/)(org_)?users\.json$/.test(name))
  const days = names.some((name) => dayFile.test(name))
  const found = [...lists, people].filter((name) => name !== undefined)
  const why = `there are ${found.join(' and ')}${days ? ', and a file per day' : ''}`
  if (lists.length && people) return Promise.resolve({ sure: days ? 0.95 : 0.8, why })
  if (lists.length && days) return Promise.resolve({ sure: 0.7, why })
  return Promise.resolve(undefined)
}

async function* read(source: Source, context: ReadContext): AsyncGenerator<Item> {
  const people = new People()
  const conversations = new Conversations(source)
  yield* people.read(source, context)
  yield* conversations.read(context)
  const reader = new MessageReader(source, people, conversations, context)
  for (const { name } of source.entries) {
    if (!dayFile.test(name)) continue
    const folder = name.slice(0, name.lastIndexOf('/'))
    const conversation = conversations.ofFolder(folder)
    if (conversation) yield* readDay(source, name, conversation, reader, context)
    else {
      const stray = conversations.stray(folder)
      context.problem({
        class: 'malformed',
        reason: `The folder ${folder} is in no list of conversations: it becomes a private room`,
        place: { file: name },
        room: stray.id,
        done: 'degraded',
      })
      yield { kind: 'room', id: stray.id, name: stray.name, type: 'private' }
      yield* readDay(source, name, stray, reader, context)
    }
  }
}

async function* readDay(
  source: Source,
  file: string,
  conversation: Conversation,
  reader: MessageReader,
  context: ReadContext,
): AsyncGenerator<Item> {
  for await (const { value, place } of readJson(source, file, [], context))
    yield* reader.read(value, place, conversation)
}

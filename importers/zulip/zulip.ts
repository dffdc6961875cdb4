import type { Format, Item, Place, ReadContext, Recognition } from '#importers/format.ts'
import { id as idOf, number } from '#importers/read/fields.ts'
import { readJson } from '#importers/read/json.ts'
import { Scratch } from '#importers/read/scratch.ts'
import type { Source } from '#importers/source.ts'
import { MessageReader, topicOf } from './messages.ts'
import { Realm, reactionsSchema, streamRoom } from './realm.ts'
import { Topics, topicsSchema } from './topics.ts'

/** Zulip's export of an organization: its tables in realm.json, and its messages in numbered files. */
export const zulip: Format = {
  name: 'zulip',
  title: 'Zulip export',
  recognize,
  read,
  // The first message of each topic is found ahead.
  passes: 2,
}

const realmFile = /^(.*\/)?realm\.json$/
const messageFile = /(?:^|\/)messages-(\d+)\.json(\.partial)?$/

function recognize(source: Source): Promise<Recognition | undefined> {
  const names = source.entries.map(({ name }) => name)
  const realm = names.find((name) => realmFile.test(name))
  const messages = names.find((name) => messageFile.test(name))
  if (realm === undefined || messages === undefined) return Promise.resolve(undefined)
  return Promise.resolve({ sure: 0.95, why: `there are ${realm} and ${messages}` })
}

async function* read(source: Source, context: ReadContext): AsyncGenerator<Item> {
  const realms = source.entries
    .map(({ name }) => realmFile.exec(name))
    .filter((each) => each !== null)
  const files = messageFiles(source)
  if (!realms.length) {
    const reason = 'There is no realm.json, without which nobody knows who wrote what, and where'
    const place = { file: files[0] ?? source.path }
    context.problem({ class: 'malformed', reason, place, done: 'skipped' })
    return
  }
  // The one nearest to the top.
  const [, folder = ''] = realms.reduce((one, other) =>
    other[0].length < one[0].length ? other : one,
  )
  using scratch = new Scratch(`${reactionsSchema}; ${topicsSchema}`)
  const realm = new Realm(source, folder)
  yield* realm.read(scratch, context)
  yield* realm.rooms()
  const topics = new Topics(scratch)
  await noteTopics(source, files, realm, topics, context)
  const reader = new MessageReader(realm, topics, scratch, context)
  for (const file of files) {
    for await (const { value, place } of messagesOf(source, file, context))
      yield* reader.read(value, place)
  }
}

/** Files of messages by their numbers; one that an interrupted export left unfinished, if there is no other. */
function messageFiles(source: Source): string[] {
  return source.entries
    .map(({ name }) => name)
    .filter((name) => messageFile.test(name))
    .filter((name) => !name.endsWith('.partial') || !source.has(name.slice(0, -'.partial'.length)))
    .sort((one, other) => numberOf(one) - numberOf(other))
}

const numberOf = (file: string): number => Number(messageFile.exec(file)?.[1])

/** The messages of a file; what was read of them by whom stands behind, is many times more, and is not wanted. */
async function* messagesOf(
  source: Source,
  file: string,
  context: ReadContext,
): AsyncGenerator<{ value: unknown; place: Place }> {
  let found = false
  for await (const { key, value, place } of readJson(source, file, 'all', context)) {
    if (key === 'zerver_message') {
      found = true
      yield { value, place }
    } else if (found) return
  }
}

/** Finds the first message of each topic ahead. */
async function noteTopics(
  source: Source,
  files: string[],
  realm: Realm,
  topics: Topics,
  context: ReadContext,
): Promise<void> {
  const quiet = { ...context, problem: () => {} }
  for (const file of files) {
    for await (const { value } of messagesOf(source, file, quiet)) {
      const [id, topic] = [idOf(value, 'id'), topicOf(value)]
      const recipient = realm.recipient(idOf(value, 'recipient') ?? '')
      if (id !== undefined && topic !== undefined && recipient?.type === 2)
        topics.note(streamRoom(recipient.typeId), topic, id, number(value, 'date_sent') ?? Infinity)
    }
  }
}

import type { Format, Item, ReadContext, Recognition, Room } from '#importers/format.ts'
import { id as idOf, isFields, text } from '#importers/read/fields.ts'
import { readJson } from '#importers/read/json.ts'
import type { Source } from '#importers/source.ts'
import { type Channel, findChannels, isDirect } from './exports.ts'
import { type Home, MessageReader, snowflakeTime } from './messages.ts'
import { People } from './people.ts'

/** What DiscordChatExporter writes as JSON: a file per channel and thread, or several for its partitions. */
export const discord: Format = {
  name: 'discord',
  title: 'Discord (DiscordChatExporter, JSON)',
  recognize,
  read,
}

async function recognize(source: Source): Promise<Recognition | undefined> {
  const files = source.entries.filter(({ name }) => /\.json$/i.test(name)).slice(0, 5)
  for (const { name } of files) {
    const head = new TextDecoder().decode(await source.head(name))
    if (/^\uFEFF?\s*\{\s*"guild"\s*:\s*\{/.test(head) && /"channel"\s*:\s*\{/.test(head))
      return { sure: 0.95, why: `${name} begins with a guild and a channel` }
  }
  return undefined
}

async function* read(source: Source, context: ReadContext): AsyncGenerator<Item> {
  const channels = await findChannels(source, context)
  yield* rooms(channels)
  const people = new People(source)
  const reader = new MessageReader(source, people, channels, context)
  const threads: Channel[] = []
  for (const channel of channels.values()) {
    if (channel.parent) threads.push(channel)
    else yield* readChannel(source, channel, { room: channel.id }, reader, context)
  }
  // Threads come last: what they hang from has been seen then, if it is in the export.
  for (const thread of threads) yield* readThread(source, thread, reader, context)
}

/** A room for each channel; also for one of which only threads were exported, as forums are. */
function* rooms(channels: ReadonlyMap<string, Channel>): Generator<Room> {
  const made = new Set<string>()
  for (const channel of channels.values()) {
    const { id, name, topic } = channel.parent ? { ...channel.parent, topic: undefined } : channel
    if (made.has(id) || (channel.parent && channels.has(id))) continue
    made.add(id)
    yield {
      kind: 'room',
      id,
      ...(name !== undefined && !isDirect(channel) && { name }),
      ...(topic !== undefined && { topic }),
      // Who may see a channel is not in the export: better too few than too many.
      type: isDirect(channel) ? 'direct' : 'private',
    }
  }
}

async function* readChannel(
  source: Source,
  channel: Channel,
  home: Home,
  reader: MessageReader,
  context: ReadContext,
): AsyncGenerator<Item> {
  for (const file of channel.files) {
    let ended = false
    for await (const { key, value, place } of readJson(source, file, ['messages'], context)) {
      if (key === 'messages') yield* reader.read(value, place, home)
      ended ||= key === 'messageCount'
    }
    if (ended) continue
    const reason = 'It has no count of messages at its end: the export may have been cut off'
    context.problem({ class: 'malformed', reason, place: { file }, done: 'degraded' })
  }
}

/**
 * A thread becomes one of the room of its channel. Its ID is that of the message that it was begun from;
 * otherwise it hangs from the line that told of it, or from one that is made here.
 */
async function* readThread(
  source: Source,
  thread: Channel,
  reader: MessageReader,
  context: ReadContext,
): AsyncGenerator<Item> {
  const room = thread.parent!.id
  const root = reader.rootOf(thread.id)
  if (root !== undefined) {
    yield* readChannel(source, thread, { room, thread: root }, reader, context)
    return
  }
  const first = await firstOf(source, thread, context)
  const name = thread.name ?? thread.id
  if (!first.hasRoot) {
    yield {
      kind: 'notice',
      about: 'other',
      room,
      id: thread.id,
      sender: first.author ?? 'unknown',
      time: snowflakeTime(thread.id),
      place: { file: thread.files[0]! },
      body: `Thread: ${name}`,
    }
  }
  yield* readChannel(source, thread, { room, thread: thread.id, title: name }, reader, context)
}

/** Whether the message that a thread was begun with is in its own files, as in forums, and who wrote first. */
async function firstOf(
  source: Source,
  thread: Channel,
  context: ReadContext,
): Promise<{ hasRoot: boolean; author?: string }> {
  const quiet = { ...context, problem: () => {} }
  let author: string | undefined
  for (const file of thread.files) {
    for await (const { key, value } of readJson(source, file, ['messages'], quiet)) {
      if (key !== 'messages' || !isFields(value)) continue
      author ??= idOf(value['author'], 'id')
      // The copy of the first message that stands at the head of a thread has an ID of its own.
      if (idOf(value, 'id') === thread.id && text(value, 'type') !== '21') return { hasRoot: true }
    }
  }
  return { hasRoot: false, ...(author !== undefined && { author }) }
}

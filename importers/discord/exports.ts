import type { ReadContext } from '#importers/format.ts'
import { type Fields, id as idOf, isFields, text } from '#importers/read/fields.ts'
import { readJson } from '#importers/read/json.ts'
import type { Source } from '#importers/source.ts'

/** A channel of the export, with the files that hold its messages: one, or its partitions. */
export type Channel = {
  id: string
  name: string | undefined
  type: string
  topic: string | undefined
  /** Of a thread: the channel that it hangs from. */
  parent: { id: string; name: string | undefined } | undefined
  files: string[]
}

/** Reads what each file of the export is of, which stands before its messages. */
export async function findChannels(
  source: Source,
  context: ReadContext,
): Promise<Map<string, Channel>> {
  const channels = new Map<string, Channel>()
  const files = source.entries.filter(({ name }) => /\.json$/i.test(name)).map(({ name }) => name)
  for (const file of files.sort(byPartition)) {
    const head = await readHead(source, file, context)
    const id = idOf(head, 'id') ?? /\[(\d{5,20})\][^/]*\.json$/i.exec(file)?.[1]
    if (id === undefined) {
      context.problem({
        class: 'malformed',
        reason: 'It does not say of which channel it is',
        place: { file },
        done: 'skipped',
      })
      continue
    }
    const known = channels.get(id)
    if (known) known.files.push(file)
    else channels.set(id, channelOf(id, head, file))
  }
  return channels
}

/** Partitions by their number, where the name alone would put the tenth before the second. */
function byPartition(one: string, other: string): number {
  const split = (name: string) => /^(.*?)(?: \[part (\d+)\])?\.json$/i.exec(name) ?? []
  const [, left = one, first = '1'] = split(one)
  const [, right = other, second = '1'] = split(other)
  return left === right ? Number(first) - Number(second) : left < right ? -1 : 1
}

/** What stands before the messages: names and topics, of which the longest has 1024 characters. */
const headSize = 65_536

/** Problems behind the head are told when the messages are read. */
async function readHead(source: Source, file: string, context: ReadContext): Promise<Fields> {
  const quiet = { ...context, problem: () => {} }
  const head: Source = {
    ...source,
    async *open(name) {
      yield await source.head(name, headSize)
    },
  }
  for await (const { key, value } of readJson(head, file, ['messages'], quiet)) {
    if (key === 'channel' && isFields(value)) return value
    if (key === 'messages') break
  }
  return {}
}

function channelOf(id: string, head: Fields, file: string): Channel {
  const type = idOf(head, 'type') ?? ''
  const parent = idOf(head, 'categoryId')
  const isThread = /Thread$|^1[012]$/.test(type)
  return {
    id,
    name: text(head, 'name'),
    type,
    topic: text(head, 'topic') || undefined,
    parent: isThread && parent ? { id: parent, name: text(head, 'category') } : undefined,
    files: [file],
  }
}

/** Whether a channel is between people, not of a guild. */
export const isDirect = ({ type }: Channel): boolean =>
  type.startsWith('Direct') || /^[13]$/.test(type)

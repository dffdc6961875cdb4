import { basename } from 'node:path'
import type { Source } from '#importers/source.ts'

export type FileKind = 'messages' | 'users' | 'rooms' | 'integration-events'

/** `gitter-room-messages-2021-1-5.ndjson`, `messages.ndjson`, `rooms.json`, `gitterHQ/gitter.json`. */
const named =
  /(?:^|\/)(?:gitter-(?:room|user)-)?(messages|users|rooms|integration-events|bans|[a-z-]+)(?:-\d{4}-\d{1,2}-\d{1,2})?\.(ndjson|json)$/i

const looksLikeMessages = /"sent"\s*:\s*"\d{4}-\d\d-\d\d/
const hasAuthor = /"(fromUser|readBy|unread|virtualUser|threadMessageCount)"\s*:/

/**
 * What a file holds. Files of other resources (bans, the other twenty of a user's export) hold nothing that
 * could be shown; whatever else looks like a list of messages is one.
 */
export async function kindOf(source: Source, name: string): Promise<FileKind | undefined> {
  if (!/\.(ndjson|json)$/i.test(name)) return undefined
  const kind = named.exec(name)?.[1]?.toLowerCase()
  if (kind === 'users' || kind === 'rooms' || kind === 'integration-events') return kind
  if (kind === 'bans') return undefined
  const head = new TextDecoder().decode(await source.head(name, 65_536))
  return looksLikeMessages.test(head) && hasAuthor.test(head) ? 'messages' : undefined
}

/** The room of a file that does not say it: its folder, or its own name if that is not what it holds. */
export function roomOf(source: Source, name: string): string {
  const folders = name.split('/')
  const file = (folders.pop() ?? '').replace(/\.(ndjson|json)$/i, '')
  const own = /^(gitter-(room|user)-)?(messages|users|integration-events)(-\d{4}-\d+-\d+)?$/i
  if (!own.test(file)) folders.push(file)
  while (folders.length > 1 && /^(rooms|archive|export|data)$/i.test(folders[0]!)) folders.shift()
  if (folders.length > 0) return folders.join('/')
  return basename(source.path).replace(/\.(zip|tgz|tar|tar\.gz|ndjson|json)$/i, '')
}

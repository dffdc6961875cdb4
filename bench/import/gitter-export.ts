import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { people, type Said, type Talk } from './talk.ts'

const flushEvery = 1024 * 1024

/** Writes talks as an archive of Gitter's REST API, and returns its bytes. */
export async function writeGitterExport(folder: string, talks: readonly Talk[]): Promise<number> {
  await mkdir(folder, { recursive: true })
  const rooms = talks.map((talk) => ({
    id: roomIdOf(talk),
    name: talk.name,
    topic: '',
    uri: talk.name,
    oneToOne: false,
    userCount: people.length,
    public: true,
  }))
  let bytes = await Bun.write(join(folder, 'rooms.json'), JSON.stringify(rooms))
  for (const talk of talks) {
    await mkdir(join(folder, talk.name), { recursive: true })
    const writer = Bun.file(join(folder, talk.name, 'messages.ndjson')).writer()
    let held = 0
    for (const said of talk.said()) {
      const written = writer.write(`${JSON.stringify(messageOf(said))}\n`)
      held += written as number
      if (held < flushEvery) continue
      bytes += held
      held = 0
      await writer.flush()
    }
    bytes += held
    await writer.end()
  }
  return bytes
}

/** The room of a talk as Gitter knows it. */
export const roomIdOf = ({ options }: Talk): string =>
  `5e6f${options.number.toString(16).padStart(20, '0')}`

function messageOf({ id, time, author, text, thread, edited, mention }: Said): object {
  const mentioned = mention === undefined ? undefined : people[mention]!
  const said = mentioned ? `@${mentioned.username} ${text}` : text
  return {
    id,
    text: said,
    html: `<p>${said}</p>`,
    sent: new Date(time).toISOString(),
    ...(edited && { editedAt: new Date(time + 60_000).toISOString() }),
    readBy: 12,
    urls: [],
    mentions: mentioned ? [{ screenName: mentioned.username, userId: mentioned.id }] : [],
    issues: [],
    meta: [],
    v: 1,
    fromUser: { ...people[author]!, url: `/${people[author]!.username}`, v: 30 },
    ...(thread !== undefined && { parentId: thread }),
  }
}

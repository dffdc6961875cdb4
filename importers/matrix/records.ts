import type {
  Attachment,
  Edit,
  FileContent,
  Message,
  Notice,
  Problem,
  Text,
} from '#importers/format.ts'
import type { Links } from '#importers/markup/html.ts'
import type { OutRecord } from '#importers/server/import-api.ts'
import { type Media, notWanted } from '#importers/state/ledger.ts'
import type { SpooledRow, Stamped } from '#importers/state/spool.ts'
import {
  type Content,
  cleanText,
  fileContent,
  importKey,
  inPieces,
  profileOf,
  textContent,
  withProfile,
} from './content.ts'
import type { People, Speaker } from './people.ts'
import { reactionRecord, redaction, srcIdOf, timeOf } from './relations.ts'

export type MapperOptions = {
  people: People
  /** A room of the export as it is here, for links. */
  roomId(room: string): string | undefined
  /** A file that was uploaded. */
  media(content: FileContent): Media | undefined
  /** Whether the people mentioned are told to clients: not at the tip of a room, where that notifies. */
  withMentions: boolean
  /** Whether people's coming and going is told. */
  withMoves: boolean
  problem(problem: Problem): void
}

export type Mapped = { records: OutRecord[]; speakers: Speaker[] }

/** Of one message; a batch takes no more records than a few times this. */
const mostReactions = 2000

const nothing: Mapped = { records: [], speakers: [] }

/** The files that a record carries, so that they can be uploaded before it is mapped. */
export function filesOf(item: Stamped): FileContent[] {
  if (item.kind !== 'message' && item.kind !== 'notice') return []
  const avatar = item.kind === 'message' ? item.shownAs?.avatar : undefined
  return [
    ...(item.files ?? []).flatMap((file) => (file.content && !file.gone ? [file.content] : [])),
    ...(avatar ? [avatar] : []),
  ]
}

/** Turns records of the export into records of the server. The same record gives the same, whenever. */
export class Mapper {
  readonly #options: MapperOptions
  readonly #links: Links

  constructor(options: MapperOptions) {
    this.#options = options
    this.#links = {
      person: (id) => {
        const speaker = options.people.speaker(id)
        return speaker && !speaker.isShared ? matrixTo(speaker.userId) : undefined
      },
      room: (id) => {
        const room = options.roomId(id)
        return room === undefined ? undefined : matrixTo(room)
      },
    }
  }

  map(row: Pick<SpooledRow, 'thread' | 'target'>, item: Stamped): Mapped {
    const speaker = this.#options.people.speaker(item.sender)
    if (!speaker) {
      this.#problem(item, 'forbidden', 'The plan leaves its author out', 'left_out')
      return nothing
    }
    switch (item.kind) {
      case 'message':
        return this.#message(row, item, speaker)
      case 'notice':
        return this.#notice(row, item, speaker)
      case 'edit':
        return this.#edit(row, item, speaker)
      case 'reaction':
        return this.#reaction(row, item, speaker)
      case 'deletion':
        return this.#deletion(row, item, speaker)
    }
  }

  #message(
    { thread, target }: Pick<SpooledRow, 'thread' | 'target'>,
    item: Message,
    speaker: Speaker,
  ): Mapped {
    const relates = {
      ...(thread !== null && { thread: srcIdOf(item.room, thread) }),
      ...(target !== null && { reply: srcIdOf(item.room, target) }),
    }
    if (item.deleted) return this.#stub(item, speaker, relates)
    const versions = [...(item.earlier ?? []), { ...item, time: item.editedAt ?? item.time }]
    const first = versions[0]!
    const msgtype = `m.${item.form ?? 'text'}`
    const records: OutRecord[] = []
    if (first.body.trim() !== '' || first.html !== undefined)
      this.#say(records, item, this.#text(first, msgtype, item), speaker, relates)
    for (const [index, file] of (item.files ?? []).entries()) {
      const own = records.length === 0 ? '' : `#file${index + 1}`
      records.push(
        this.#record(
          item,
          own,
          speaker,
          this.#file(item, file),
          index > 0 || own ? thread : relates,
        ),
      )
    }
    if (records.length === 0) {
      this.#problem(item, 'unsupported_type', 'It has neither text nor files', 'skipped')
      return nothing
    }
    const speakers = [speaker]
    for (const [index, version] of versions.slice(1).entries())
      this.#replace(records, item, `#edit${index + 1}`, item.id, version, speaker, msgtype)
    this.#reactions(item, records, speakers)
    return { records, speakers }
  }

  /** What was said, in several events if it is too much for one. */
  #say(
    records: OutRecord[],
    item: Message | Notice,
    content: Content,
    speaker: Speaker,
    relates: OutRecord['relates'],
  ): void {
    const pieces = inPieces(this.#shown(item, content, speaker))
    if (pieces.length > 1) {
      this.#problem(
        item,
        'too_large',
        `Too large for an event: it became ${pieces.length}, without markup`,
        'split',
      )
    }
    for (const [index, piece] of pieces.entries()) {
      const part = index === 0 ? '' : `#part${index + 1}`
      const among = pieces.length > 1 ? { part: index + 1, parts: pieces.length } : {}
      const related = index === 0 ? relates : relates?.thread ? { thread: relates.thread } : {}
      records.push(this.#plain(item, part, speaker, piece, related, among))
    }
  }

  #text(text: Text, msgtype: string, item: Message | Notice | Edit): Content {
    return textContent(text, {
      msgtype,
      links: this.#links,
      mentions: this.#mentions(text.mentions ? text : item),
    })
  }

  #mentions(text: Text): { user_ids?: string[]; room?: true } | undefined {
    if (!this.#options.withMentions) return undefined
    const users = (text.mentions ?? [])
      .map((person) => this.#options.people.speaker(person))
      .filter((speaker) => speaker !== null && !speaker.isShared)
      .map((speaker) => speaker!.userId)
    if (users.length === 0 && !text.mentionsRoom) return undefined
    return {
      ...(users.length > 0 && { user_ids: [...new Set(users)] }),
      ...(text.mentionsRoom && { room: true as const }),
    }
  }

  #file(item: Message | Notice, file: Attachment): Content {
    const media = file.content && !file.gone ? this.#options.media(file.content) : undefined
    const gone = file.gone ?? media?.gone ?? 'the file is not in the export'
    if (!media?.mxc && gone !== notWanted) {
      const kind = gone.includes('larger than') ? 'media_too_big' : 'media_gone'
      this.#problem(item, kind, `${file.name}: ${gone}`, 'degraded')
    }
    return fileContent(file, media, gone)
  }

  #shown(item: Message | Notice | Edit, content: Content, speaker: Speaker): Content {
    const as = item.kind === 'message' ? item.shownAs : undefined
    const name = as?.name ?? this.#options.people.nameAt(item.sender, item.time)
    const face = as?.avatar ?? (speaker.isShared ? speaker.avatar : undefined)
    const avatar = face ? (this.#options.media(face)?.mxc ?? undefined) : undefined
    const profile = profileOf(speaker, name, avatar)
    return profile ? withProfile(content, profile, speaker.isShared) : content
  }

  #record(
    item: Message | Notice,
    part: string,
    speaker: Speaker,
    content: Content,
    relates: OutRecord['relates'] | string | null,
  ): OutRecord {
    const related =
      typeof relates === 'string' ? { thread: srcIdOf(item.room, relates) } : (relates ?? {})
    return this.#plain(item, part, speaker, this.#shown(item, content, speaker), related)
  }

  #plain(
    item: Stamped,
    part: string,
    speaker: Speaker,
    content: Content,
    relates: OutRecord['relates'] = {},
    more: { [name: string]: unknown } = {},
  ): OutRecord {
    const edited = item.kind === 'message' && !item.earlier ? item.editedAt : undefined
    return {
      src_id: srcIdOf(item.room, item.id, part),
      type: 'm.room.message',
      sender: speaker.userId,
      ts: timeOf(item),
      content: {
        ...content,
        [importKey]: {
          id: cleanText(item.id),
          ...(edited !== undefined && { edited_ts: Math.floor(edited) }),
          ...this.#unnamed(item),
          ...more,
        },
      },
      ...(Object.keys(relates).length > 0 && { relates }),
    }
  }

  /** A new form of a message; what is too much for it follows as messages. */
  #replace(
    records: OutRecord[],
    item: Message | Edit,
    part: string,
    target: string,
    version: Text & { time: number; editor?: string },
    speaker: Speaker,
    msgtype: string,
  ): void {
    const [whole = {}, ...more] = inPieces(
      this.#shown(item, this.#text(version, msgtype, item), speaker),
    )
    const { body, formatted_body: html } = whole
    // The old form of an edit, for clients that know none, weighs as much again: short, if it is long.
    const { 'm.mentions': _, ...said } = whole
    const ts = Number.isFinite(version.time) ? Math.floor(version.time) : timeOf(item)
    const content = {
      msgtype,
      body: `* ${String(body).slice(0, 1000)}`.toWellFormed(),
      ...(typeof html === 'string' &&
        html.length < 1000 && { format: 'org.matrix.custom.html', formatted_body: `* ${html}` }),
      'm.new_content': said,
    }
    const relates = { target: srcIdOf(item.room, target), rel_type: 'm.replace' }
    records.push({ ...this.#plain(item, part, speaker, content, relates), ts })
    if (more.length > 0)
      this.#problem(item, 'too_large', 'Too large for an edit: the rest follows it', 'split')
    for (const [index, piece] of more.entries())
      records.push(this.#plain(item, `${part}#part${index + 2}`, speaker, piece))
  }

  #reactions(item: Message, records: OutRecord[], speakers: Speaker[]): void {
    const seen = new Set<string>()
    for (const { key, people, time } of item.reactions ?? []) {
      for (const person of people) {
        const speaker = this.#options.people.speaker(person)
        const once = `${key} ${speaker?.userId}`
        if (!speaker || seen.has(once) || speaker.isShared || seen.size >= mostReactions) continue
        seen.add(once)
        speakers.push(speaker)
        const ts = time !== undefined && Number.isFinite(time) ? Math.floor(time) : timeOf(item)
        records.push(
          reactionRecord(item, `#reaction/${cleanText(key)}/${person}`, speaker, ts, item.id, key),
        )
      }
    }
  }

  /** Reactions of people of whom nothing is known, or who have no account here. */
  #unnamed(item: Stamped): { [name: string]: unknown } {
    if (item.kind !== 'message' || !item.reactions) return {}
    const unnamed = item.reactions
      .map(({ key, people, count }) => {
        const speakers = people.map((person) => this.#options.people.speaker(person))
        const without = speakers.filter((speaker) => speaker?.isShared).length
        return [cleanText(key), Math.max((count ?? 0) - people.length, 0) + without] as const
      })
      .filter(([, more]) => more > 0)
    return unnamed.length > 0 ? { more_reactions: Object.fromEntries(unnamed) } : {}
  }

  #notice({ target }: Pick<SpooledRow, 'target'>, item: Notice, speaker: Speaker): Mapped {
    if ((item.about === 'join' || item.about === 'leave') && !this.#options.withMoves) {
      this.#problem(item, 'unsupported_type', 'Comings and goings are not imported', 'left_out')
      return nothing
    }
    const relates = target === null ? {} : { reply: srcIdOf(item.room, target) }
    const records: OutRecord[] = []
    if (item.body.trim() !== '')
      this.#say(records, item, this.#text(item, 'm.notice', item), speaker, relates)
    for (const [index, file] of (item.files ?? []).entries()) {
      const own = records.length === 0 ? '' : `#file${index + 1}`
      records.push(this.#record(item, own, speaker, this.#file(item, file), null))
    }
    return { records, speakers: [speaker] }
  }

  #edit({ target }: Pick<SpooledRow, 'target'>, item: Edit, speaker: Speaker): Mapped {
    if (target === null) return nothing
    const records: OutRecord[] = []
    this.#replace(records, item, '', target, item, speaker, 'm.text')
    return { records, speakers: [speaker] }
  }

  #reaction(
    { target }: Pick<SpooledRow, 'target'>,
    item: Stamped & { key: string },
    speaker: Speaker,
  ): Mapped {
    if (target === null) return nothing
    if (speaker.isShared) {
      this.#problem(item, 'unsupported_type', 'Its author has no account to react with', 'skipped')
      return nothing
    }
    return {
      records: [reactionRecord(item, '', speaker, timeOf(item), target, item.key)],
      speakers: [speaker],
    }
  }

  #deletion(
    { target }: Pick<SpooledRow, 'target'>,
    item: Stamped & { reason?: string },
    speaker: Speaker,
  ): Mapped {
    if (target === null) return nothing
    return { records: [redaction(item, '', target, speaker, item.reason)], speakers: [speaker] }
  }

  /** A message of which nothing is left but its place. */
  #stub(item: Message, speaker: Speaker, relates: OutRecord['relates']): Mapped {
    const content = { msgtype: 'm.text', body: 'This message was deleted' }
    const stub = this.#plain(item, '', speaker, content, relates)
    return {
      records: [stub, redaction(item, '#deleted', item.id, speaker)],
      speakers: [speaker],
    }
  }

  #problem(item: Stamped, what: Problem['class'], reason: string, done: Problem['done']): void {
    this.#options.problem({
      class: what,
      reason,
      place: item.place ?? { file: '' },
      room: item.room,
      id: item.id,
      done,
    })
  }
}

const matrixTo = (id: string) => `https://matrix.to/#/${encodeURIComponent(id)}`

import type { Source } from '#importers/source.ts'

/**
 * What a format is, and the records that it reads an export into. Everything behind a format (order,
 * people, Matrix, upload, progress, reports) is the same for all: a format knows nothing of it.
 *
 * The records are also our own NDJSON (docs/import-ndjson.md), one a line.
 */
export type Format = {
  /** Kebab-case, as in `--format` and in the IDs of ghosts. */
  name: string
  /** As people know it: `Slack export`. */
  title: string
  /** Looks at names and first bytes only. Nothing, if the export is of another kind. */
  recognize(source: Source): Promise<Recognition | undefined>
  /**
   * Everything in the export, in whatever order it is written there, a record at a time: what is read is
   * sorted by room and time behind it. Never throws for a record: what cannot be read is told with
   * `context.problem`, and reading goes on with the next.
   */
  read(source: Source, context: ReadContext): AsyncIterable<Item>
  /** How often its large files are read from start to end, so that progress can be told; once unless it says. */
  passes?: number
}

export type Recognition = {
  /** From 0 to 1; the surest format is taken. 0.9: it cannot well be another one. */
  sure: number
  /** One clause that goes on from "because": `there are channels.json and users.json`. */
  why: string
}

export type ReadContext = {
  problem(problem: Problem): void
  options: ReadOptions
}

export type ReadOptions = {
  /** `--tz`: an IANA zone for exports that have local times without one. */
  timezone?: string
}

/** Where something stands in the export: a file, and as much more as is known. */
export type Place = {
  file: string
  line?: number
  /** In bytes from the start of the file. */
  offset?: number
}

export type ProblemClass =
  /** Not JSON, cut off, of a shape that the format does not have. */
  | 'malformed'
  | 'encoding'
  | 'too_large'
  | 'bad_time'
  | 'unknown_author'
  | 'missing_parent'
  | 'cycle'
  | 'media_gone'
  | 'media_too_big'
  | 'unsupported_type'
  | 'duplicate'
  | 'deleted'
  /** It came from Matrix, where it still is. */
  | 'bridged'
  | 'unsafe_archive'
  | 'forbidden'
  | 'server'

export type Problem = {
  class: ProblemClass
  /** A sentence without its full stop that an administrator understands. */
  reason: string
  place: Place
  room?: string
  /** The ID of the record, if it could be read. */
  id?: string
  /**
   * What became of the record: not imported, imported as several, imported with something missing; or left
   * out as it should be, which is no fault and does not count as one.
   */
  done: 'skipped' | 'split' | 'degraded' | 'left_out'
}

export type Item = Room | Person | Message | Edit | Deletion | Reaction | Notice | Rename

/** All IDs are the export's own, as strings. They must be the same in a later export of the same chat. */
export type Room = {
  kind: 'room'
  id: string
  /** As in `general`; people's names for a direct chat without one. */
  name?: string
  topic?: string
  type?: 'public' | 'private' | 'direct'
  /** IDs of people, if the export tells them. */
  members?: string[]
  /** In milliseconds. */
  created?: number
  archived?: boolean
}

export type Person = {
  kind: 'person'
  /** Stable: never a name that may change, if there is anything else. */
  id: string
  /** What they type to log in, without `@`. */
  username?: string
  /** The name to be shown. */
  name?: string
  email?: string
  /** An entry of the export, or an URL. */
  avatar?: FileContent
  bot?: boolean
  /** Their account is gone. */
  removed?: boolean
}

type Placed = {
  room: string
  /** Where it stands; reports name it. Always give it, the readers of importers/read/ hand it out. */
  place?: Place
}

/** What stands on its own in a room at a time. */
type Stamped = Placed & {
  /** Unique in its room. */
  id: string
  /** ID of a person; one of whom nothing else is known gets a placeholder. */
  sender: string
  /**
   * Milliseconds since 1970, UTC. A fraction orders within the millisecond; equal times keep the order in
   * which they are read. What is no time (NaN, before 1970, in the far future) is reported behind.
   */
  time: number
  /** Orders records of one time, compared byte by byte; without it, the order in which they are read does. */
  order?: string
}

/** What people see: `body` without markup, and HTML if there was any. */
export type Text = {
  body: string
  /**
   * HTML as Matrix has it; it is made safe behind. People and rooms are named by the export's IDs, and
   * become links: `<a data-person="U01">@bob</a>`, `<a data-room="C01">#general</a>`. There is none to a
   * message, whose event gets its ID when it is sent: `replyTo` leads to one.
   */
  html?: string
  /** IDs of the people mentioned. */
  mentions?: string[]
  /** `@channel`, `@all` and the like. */
  mentionsRoom?: boolean
}

export type Message = Stamped &
  Text & {
    kind: 'message'
    /** `notice`: from a bot; `emote`: `/me` (without the name in the body). */
    form?: 'text' | 'notice' | 'emote'
    /** How the sender was called and looked then, where it differs: names of webhooks and bots, old names. */
    shownAs?: { name?: string; avatar?: FileContent }
    /** ID of the message in the same room that began the thread. */
    thread?: string
    /** ID of the message in the same room that this answers. */
    replyTo?: string
    files?: Attachment[]
    reactions?: Reactions[]
    /** When the text got its last form, if it was edited and only the last form is known. */
    editedAt?: number
    /** Earlier forms, if the export has them, oldest first; the message itself holds the last one. */
    earlier?: (Text & { time: number; editor?: string })[]
    pinned?: boolean
    /** Deleted, but others refer to it: becomes a message without content. */
    deleted?: boolean
  }

/** All reactions with one key to the message that holds them. Time: the message's, unless given. */
export type Reactions = {
  /** The emoji itself, or `:name:` of one that the export does not hold. */
  key: string
  people: string[]
  time?: number
  /** If more reacted than are named. */
  count?: number
}

/** A reaction that the export holds apart from its message. */
export type Reaction = Stamped & { kind: 'reaction'; target: string; key: string }

/** A later form of a message that the export holds apart from it. */
export type Edit = Stamped & Text & { kind: 'edit'; target: string }

/** A deletion that the export holds apart from its message. */
export type Deletion = Stamped & { kind: 'deletion'; target: string; reason?: string }

/** What the chat itself said: somebody came, the topic was changed. */
export type Notice = Stamped &
  Text & {
    kind: 'notice'
    about: 'join' | 'leave' | 'name' | 'topic' | 'pin' | 'call' | 'other'
    /** ID of the message in the same room that it tells of: one that was pinned. */
    replyTo?: string
    files?: Attachment[]
  }

/** From this time on a person bore this name; before it, `before`. */
export type Rename = { kind: 'rename'; person: string; time: number; name: string; before?: string }

export type FileContent = { entry: string } | { url: string; headers?: { [name: string]: string } }

export type Attachment = {
  /** As it was called when it was uploaded. */
  name: string
  /** Where its bytes are; nothing, if the export itself says that they are gone. */
  content?: FileContent
  /** Why there is no content. */
  gone?: string
  type?: string
  size?: number
  width?: number
  height?: number
  /** In milliseconds. */
  duration?: number
  caption?: string
}

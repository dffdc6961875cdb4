/** How often something happens among messages. */
const shares = { thread: 0.2, edited: 0.03, reply: 0.05, reaction: 0.02, mention: 0.1, long: 0.002 }

const authors = 200
const stepMs = 5000
const words =
  'the server of a room and its history where nobody reads what was said about types in lanes that wait for bun to build `main` again *now* with **less** memory than before https://example.org/a/b :+1: but tests fail when two of them merge into one graph so we should pin it'.split(
    ' ',
  )

export type TalkOptions = {
  /** Tells IDs of several apart; below 65,536. */
  number: number
  messages: number
  start: number
  /** In the middle nothing is said for so long. */
  pauseMs?: number
}

export type Said = {
  id: string
  time: number
  author: number
  text: string
  thread?: string
  edited?: boolean
  mention?: number
}

/** What is a message of its own: others answer, edit and react to it. */
type Root = { id: string; author: number }

/** What was said in a room: made up, the same each time, of any length without holding it. */
export class Talk {
  readonly options: TalkOptions

  constructor(options: TalkOptions) {
    this.options = options
  }

  get name(): string {
    return `bench/room-${this.options.number}`
  }

  get half(): number {
    return Math.floor(this.options.messages / 2)
  }

  /** As Gitter makes them: they begin with the second, and sort as they came. */
  idOf(n: number): string {
    const second = Math.floor(this.timeOf(n) / 1000)
    return `${hex(second, 8)}${hex(this.options.number, 4)}${hex(n, 12)}`
  }

  timeOf(n: number): number {
    const { start, pauseMs = 0 } = this.options
    return start + n * stepMs + (n >= this.half ? pauseMs : 0)
  }

  *ids(from = 0, to = this.options.messages): Generator<string> {
    for (let n = from; n < to; n++) yield this.idOf(n)
  }

  /** All of it as messages, which is all that Gitter has. */
  *said(): Generator<Said> {
    const roots = new Roots()
    for (let n = 0; n < this.options.messages; n++) {
      const said: Said = {
        id: this.idOf(n),
        time: this.timeOf(n),
        author: authorOf(n),
        text: textOf(n),
      }
      const root = chance(n, 1) < shares.thread ? roots.some(n) : undefined
      if (root) said.thread = root.id
      else roots.add(said)
      if (chance(n, 2) < shares.edited) said.edited = true
      if (chance(n, 3) < shares.mention) said.mention = Math.floor(chance(n, 4) * authors)
      yield said
    }
  }

  /** The same as records of the server, with edits, replies and reactions of their own among them. */
  *records(userIdOf: (author: number) => string): Generator<TalkRecord> {
    const roots = new Roots()
    for (const said of this.said()) {
      const n = Number.parseInt(said.id.slice(12), 16)
      const root = roots.some(n)
      const record = {
        src_id: said.id,
        type: 'm.room.message',
        sender: userIdOf(said.author),
        ts: said.time,
        content: { msgtype: 'm.text', body: said.text, 'org.laneway.import': { id: said.id } },
      }
      const kind = chance(n, 5)
      if (said.thread !== undefined) yield { ...record, relates: { thread: said.thread } }
      else if (root && kind < shares.edited) yield editOf(record, root, userIdOf(root.author))
      else if (root && kind < shares.edited + shares.reaction) yield reactionOf(record, root, '👍')
      else if (root && kind < shares.edited + shares.reaction + shares.reply)
        yield { ...record, relates: { reply: root.id } }
      else {
        roots.add(said)
        yield record
      }
    }
  }
}

export type TalkRecord = {
  src_id: string
  type: string
  sender: string
  ts: number
  content: { [name: string]: unknown }
  relates?: { thread?: string; reply?: string; target?: string; rel_type?: string; key?: string }
}

/** Those who speak in all talks. */
export const people = Array.from({ length: authors }, (_, n) => ({
  id: `5f${hex(n, 22)}`,
  username: `user${n}`,
  displayName: `User ${n}`,
}))

/** The last few messages that others may refer to. */
class Roots {
  readonly #kept: Root[] = []

  add({ id, author }: Root): void {
    if (this.#kept.length >= 64) this.#kept.shift()
    this.#kept.push({ id, author })
  }

  some(n: number): Root | undefined {
    return this.#kept[Math.floor(chance(n, 6) * this.#kept.length)]
  }
}

function editOf(record: TalkRecord, { id }: Root, sender: string): TalkRecord {
  const { body, ...rest } = record.content
  const content = {
    ...rest,
    body: `* ${String(body)}`,
    'm.new_content': { msgtype: 'm.text', body },
  }
  return { ...record, sender, content, relates: { target: id, rel_type: 'm.replace' } }
}

function reactionOf({ content, ...record }: TalkRecord, { id }: Root, key: string): TalkRecord {
  const own = { 'org.laneway.import': content['org.laneway.import'] }
  return { ...record, type: 'm.reaction', content: own, relates: { target: id, key } }
}

/** A few write most of it. */
const authorOf = (n: number) => Math.floor(chance(n, 7) ** 2 * authors)

function textOf(n: number): string {
  const count = chance(n, 8) < shares.long ? 600 : 3 + Math.floor(chance(n, 9) ** 2 * 40)
  let at = Math.floor(chance(n, 10) * words.length)
  const text: string[] = []
  while (text.length < count) {
    text.push(words[at]!)
    at = (at + 1 + (text.length % 7)) % words.length
  }
  return text.join(' ')
}

/** A number from 0 up to 1 that always is the same for the same two. */
function chance(n: number, salt: number): number {
  let x = Math.imul(n + 1, 0x9e3779b1) ^ Math.imul(salt, 0x85ebca6b)
  x = Math.imul(x ^ (x >>> 16), 0x7feb352d)
  x = Math.imul(x ^ (x >>> 15), 0x846ca68b)
  return ((x ^ (x >>> 16)) >>> 0) / 2 ** 32
}

function hex(value: number, digits: number): string {
  return value.toString(16).padStart(digits, '0')
}

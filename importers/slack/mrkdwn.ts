import { withEmoji } from '#importers/markup/emoji.ts'
import type { Block, Inline } from '#importers/markup/rich-text.ts'

/** What the names behind IDs in a text are. An unknown one keeps its ID. */
export interface SlackNames {
  person(id: string): string | undefined
  room(id: string): string | undefined
  group(id: string): string | undefined
}

const marks = { '*': 'b', _: 'i', '~': 'del' } as const
type Mark = keyof typeof marks

/** Where anything but text may begin. */
const signs = /[<`*_~]/g

/** Slack escapes these three and nothing else. */
export function unescapeSlack(text: string): string {
  return text.replaceAll('&lt;', '<').replaceAll('&gt;', '>').replaceAll('&amp;', '&')
}

/**
 * Reads Slack's mrkdwn, which is no Markdown: one sign for bold, no marks within a word, no way to
 * escape them, and whatever stands in angle brackets is a token.
 */
export function parseMrkdwn(text: string, names: SlackNames): Block[] {
  const blocks: Block[] = []
  for (const [index, part] of text.split('```').entries()) {
    // An odd number of fences leaves the last one open: it is text then.
    const open = index % 2 === 1 && index === text.split('```').length - 1
    if (index % 2 === 0) blocks.push(...lines(part, names))
    else if (open) blocks.push(...lines('```' + part, names))
    else
      blocks.push({ kind: 'pre', text: unescapeSlack(plainTokens(part)).replace(/^\n|\n$/g, '') })
  }
  return blocks
}

/** Within code Slack still wraps what looks like a link. */
const plainTokens = (code: string) =>
  code.replace(
    /<([^<>|\n]*)(?:\|([^<>\n]*))?>/g,
    (_, target: string, label?: string) => label ?? target,
  )

function lines(text: string, names: SlackNames): Block[] {
  const blocks: Block[] = []
  let quote: string[] | undefined
  let plain: string[] = []
  let rest = false
  const endPlain = () => {
    const joined = plain.join('\n').replace(/^\n+|\n+$/g, '')
    if (joined !== '') blocks.push({ kind: 'p', of: parseInline(joined, names) })
    plain = []
  }
  const endQuote = () => {
    if (quote)
      blocks.push({ kind: 'quote', of: [{ kind: 'p', of: parseInline(quote.join('\n'), names) }] })
    quote = undefined
  }
  for (const line of text.split('\n')) {
    const all = !rest && /^&gt;&gt;&gt; ?/.exec(line)
    const one = !rest && /^&gt; ?/.exec(line)
    if (rest || one) {
      endPlain()
      ;(quote ??= []).push(line.slice((all || one || [''])[0].length))
      if (all) rest = true
    } else {
      endQuote()
      plain.push(line)
    }
  }
  endQuote()
  endPlain()
  return blocks
}

/** Reads one run of text: tokens, code and marks. */
export function parseInline(text: string, names: SlackNames): Inline[] {
  return new Run(text, names, '').read()
}

/** One pass over a run. `within` holds the marks it stands in: none is nested in itself. */
class Run {
  readonly #text: string
  readonly #names: SlackNames
  readonly #within: string
  readonly #nodes: Inline[] = []
  /** Signs whose end was sought to the end of the run in vain: so it is for each later one. */
  readonly #endless = new Set<string>()
  #plain = ''

  constructor(text: string, names: SlackNames, within: string) {
    this.#text = text
    this.#names = names
    this.#within = within
  }

  read(): Inline[] {
    const text = this.#text
    let at = 0
    for (;;) {
      signs.lastIndex = at
      const sign = signs.exec(text)?.index ?? text.length
      this.#plain += text.slice(at, sign)
      if (sign === text.length) break
      at = this.#special(sign)
      if (at === sign) this.#plain += text[at++]
    }
    this.#flush()
    return this.#nodes
  }

  #flush(): void {
    if (this.#plain !== '') this.#nodes.push(withEmoji(unescapeSlack(this.#plain)))
    this.#plain = ''
  }

  #push(node: Inline): void {
    this.#flush()
    this.#nodes.push(node)
  }

  /** Reads what begins at `at` if it is more than text, and tells where it ends. */
  #special(at: number): number {
    const sign = this.#text[at]!
    if (sign === '<') return this.#token(at)
    if (sign === '`') return this.#code(at)
    if (sign === '*' || sign === '_' || sign === '~') return this.#marked(at, sign)
    return at
  }

  #token(at: number): number {
    const end = this.#find('>', at + 1)
    if (end < 0) return at
    this.#push(token(this.#text.slice(at + 1, end), this.#names))
    return end + 1
  }

  #code(at: number): number {
    const end = this.#find('`', at + 1)
    if (end <= at + 1) return at
    const code = this.#text.slice(at + 1, end)
    if (code.includes('\n')) return at
    this.#push({ kind: 'code', text: unescapeSlack(plainTokens(code)) })
    return end + 1
  }

  #find(sign: string, from: number): number {
    if (this.#endless.has(sign)) return -1
    const end = this.#text.indexOf(sign, from)
    if (end < 0) this.#endless.add(sign)
    return end
  }

  #marked(at: number, mark: Mark): number {
    const text = this.#text
    if (this.#within.includes(mark) || this.#endless.has(mark)) return at
    if (/[\p{L}\p{N}_*~]/u.test(text[at - 1] ?? ' ') && !(text[at - 1]! in marks)) return at
    if (
      /[\s*_~]/.test(text[at + 1] ?? ' ') &&
      (text[at + 1] === mark || /\s/.test(text[at + 1] ?? ' '))
    )
      return at
    const end = this.#closing(at + 1, mark)
    if (end < 0) return at
    const of = new Run(text.slice(at + 1, end), this.#names, this.#within + mark).read()
    this.#push({ kind: marks[mark], of })
    return end + 1
  }

  /** Where a mark ends: behind a sign that is no space, before one that is no letter, on the same line. */
  #closing(from: number, mark: Mark): number {
    const text = this.#text
    for (let at = from; at < text.length; at++) {
      const sign = text[at]
      if (sign === '\n') return -1
      if (sign === '<' || sign === '`') {
        const end = this.#find(sign === '<' ? '>' : '`', at + 1)
        if (end > 0) at = end
      } else if (sign === mark && at > from && !/\s/.test(text[at - 1]!)) {
        if (!/[\p{L}\p{N}]/u.test(text[at + 1] ?? ' ')) return at
      }
    }
    this.#endless.add(mark)
    return -1
  }
}

/** What stands between angle brackets. */
function token(inner: string, names: SlackNames): Inline {
  const bar = inner.indexOf('|')
  const target = bar < 0 ? inner : inner.slice(0, bar)
  const label = bar < 0 ? undefined : unescapeSlack(inner.slice(bar + 1))
  const id = target.slice(1)
  if (target.startsWith('@')) return { kind: 'person', id, name: names.person(id) ?? label ?? id }
  if (target.startsWith('#')) return { kind: 'room', id, name: names.room(id) ?? (label || id) }
  if (target.startsWith('!')) return command(id, label, names)
  const url = unescapeSlack(target)
  return {
    kind: 'link',
    url,
    of: [label === undefined || label === '' ? bareUrl(url) : withEmoji(label)],
  }
}

const bareUrl = (url: string) => url.replace(/^mailto:/, '')

function command(command: string, label: string | undefined, names: SlackNames): Inline {
  const [kind = '', argument = ''] = command.split('^')
  if (kind === 'subteam') return label ?? `@${names.group(argument) ?? argument}`
  if (kind === 'date') return label ?? dateText(argument)
  return { kind: 'everyone', name: kind }
}

function dateText(seconds: string): string {
  const date = new Date(Number(seconds) * 1000)
  return Number.isNaN(date.getTime()) ? seconds : date.toISOString()
}

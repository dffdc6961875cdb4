import type { MarkdownIt } from 'markdown-it'
import type { Text } from '#importers/format.ts'
import { emojiOf, withEmoji } from '#importers/markup/emoji.ts'
import { escapeHtml } from '#importers/markup/html.ts'
import { createMarkdown } from '#importers/markup/markdown.ts'
import { type Found, addToken } from '#importers/markup/tokens.ts'

/** Whom and what names in a text mean. */
export type ZulipNames = {
  /** The ID of a person by the full name, where one alone has it. */
  person(fullName: string): string | undefined
  /** The ID of a channel's room. */
  channel(name: string): string | undefined
}

type Env = Found & { names: ZulipNames; depth: number }

const person = /@(_?)\*\*([^*\n|]{1,200})(?:\|(\d+))?\*\*/
const group = /@_?\*([^*\n]{1,100})\*/
const channel = /#\*\*([^*\n>]{1,100})(?:>([^*\n@]*))?(?:@(\d+))?\*\*/
const time = /<time:([^<>\n]{1,60})>/
const sticky = (pattern: RegExp) => new RegExp(pattern.source, 'y')

/** Both forms of a text in Zulip's Markdown. */
export function zulipText(source: string, names: ZulipNames): Text {
  const env: Env = { people: new Set(), everyone: false, names, depth: 0 }
  const { html } = render(source, env)
  return {
    body: plain(source),
    ...(html !== undefined && { html }),
    ...(env.people.size > 0 && { mentions: [...env.people] }),
    ...(env.everyone && { mentionsRoom: true }),
  }
}

const render = createMarkdown((md) => {
  // An underscore is a letter.
  md.inline.ruler.before('emphasis', 'underscore', (state, silent) => {
    if (state.src[state.pos] !== '_') return false
    if (!silent) state.pending += '_'
    state.pos++
    return true
  })
  addToken<Env>(md, 'people', '@', sticky(person), ([, silently, name = '', id], env) =>
    personHtml(name, id, silently !== '', env),
  )
  addToken(md, 'groups', '@', sticky(group), ([, name = '']) => `@${escapeHtml(name)}`)
  addToken<Env>(md, 'channels', '#', sticky(channel), ([, name = '', topic], env) => {
    const id = env.names.channel(name)
    const shown = escapeHtml(channelText(name, topic))
    return id === undefined ? shown : `<a data-room="${escapeHtml(id)}">${shown}</a>`
  })
  addToken(md, 'times', '<', sticky(time), ([, stamp = '']) => escapeHtml(timeText(stamp)))
  addToken(md, 'emoji', ':', /:([+\w-]+):/y, ([, name = '']) => emojiText(name))
  addToken(md, 'maths', '$', /\$\$([^$\n]+)\$\$/y, ([, formula = '']) => {
    const shown = escapeHtml(formula)
    return `<span data-mx-maths="${shown}"><code>${shown}</code></span>`
  })
  md.renderer.rules['image'] = (tokens, at) => {
    const url = escapeHtml(tokens[at]?.attrGet('src')?.toString() ?? '')
    return `<a href="${url}">${escapeHtml(tokens[at]?.content || url)}</a>`
  }
  addFences(md)
})

const emojiText = (name: string) => emojiOf(name) ?? emojiOf(name, 'github')

/** Quotes, spoilers and formulas are written as fenced blocks. */
function addFences(md: MarkdownIt): void {
  const code = md.renderer.rules['fence']
  md.renderer.rules['fence'] = (tokens, at, options, given, self) => {
    const env = given as Env
    const token = tokens[at]!
    const [kind = '', ...more] = token.info.trim().split(/\s+/)
    const inner = () => {
      env.depth++
      const html = env.depth > 20 ? escapeHtml(token.content) : md.render(token.content, env)
      env.depth--
      return html
    }
    if (kind === 'quote') return `<blockquote>\n${inner()}</blockquote>\n`
    if (kind === 'spoiler') {
      const summary = escapeHtml(more.join(' ') || 'Spoiler')
      return `<details><summary>${summary}</summary>\n${inner()}</details>\n`
    }
    if (kind === 'math') {
      const formula = escapeHtml(token.content.trim())
      return `<div data-mx-maths="${formula}"><code>${formula}</code></div>\n`
    }
    return code!(tokens, at, options, env, self)
  }
}

/** A silent mention names somebody without telling them. */
function personHtml(name: string, written: string | undefined, silently: boolean, env: Env) {
  if (/^(all|everyone|channel|stream|topic)$/.test(name)) {
    if (!silently) env.everyone = true
    return `@${escapeHtml(name)}`
  }
  const id = written ?? env.names.person(name)
  if (id === undefined) return `@${escapeHtml(name)}`
  if (!silently) env.people.add(id)
  return `<a data-person="${escapeHtml(id)}">@${escapeHtml(name)}</a>`
}

const channelText = (name: string, topic: string | undefined) =>
  topic ? `#${name} > ${topic}` : `#${name}`

function timeText(stamp: string): string {
  const date = new Date(/^\d+$/.test(stamp) ? Number(stamp) * 1000 : stamp)
  if (Number.isNaN(date.getTime())) return stamp
  return `${date.toISOString().slice(0, 16).replace('T', ' ')} UTC`
}

/** The source with its tokens written out. */
function plain(source: string): string {
  const written = source
    .replace(new RegExp(person.source, 'g'), (_, _silently, name: string) => `@${name}`)
    .replace(new RegExp(group.source, 'g'), (_, name: string) => `@${name}`)
    .replace(new RegExp(channel.source, 'g'), (_, name: string, topic?: string) =>
      channelText(name, topic),
    )
    .replace(new RegExp(time.source, 'g'), (_, stamp: string) => timeText(stamp))
  return withEmoji(withEmoji(written), 'github')
}

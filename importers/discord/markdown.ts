import type { MarkdownIt, StateInline } from 'markdown-it'
import type { Text } from '#importers/format.ts'
import { escapeHtml } from '#importers/markup/html.ts'
import { createMarkdown } from '#importers/markup/markdown.ts'
import { type Found, addToken } from '#importers/markup/tokens.ts'

/** What IDs in a text are called. */
export type DiscordNames = {
  person(id: string): string | undefined
  role(id: string): string | undefined
  channel(id: string): string | undefined
}

/** A person that a message mentions, by the names that an export with formatted texts writes. */
export type Mentioned = { id: string; names: readonly string[] }

type Env = Found & { names: DiscordNames; mentioned: readonly Mentioned[] }

const inBrackets = /<(@!?|@&|#|a?:\w+:|t:|\/[^:<>\n]{1,100}:|id:)([\w:-]{1,40})>/y
const everyone = /@(everyone|here)\b/y

/** Both forms of a text in Discord's Markdown. */
export function discordText(
  source: string,
  names: DiscordNames,
  mentioned: readonly Mentioned[],
): Text {
  const env: Env = { people: new Set(), everyone: false, names, mentioned }
  const { html } = render(asBlocks(source), env)
  return {
    body: plain(source, env),
    ...(html !== undefined && { html }),
    ...(env.people.size > 0 && { mentions: [...env.people] }),
    ...(env.everyone && { mentionsRoom: true }),
  }
}

const render = createMarkdown((md) => {
  // Discord knows none of these, and only three levels of headings.
  md.disable(['table', 'reference', 'lheading', 'hr', 'code', 'image', 'entity'])
  addSpoilers(md)
  addToken<Env>(md, 'brackets', '<', inBrackets, ([, kind = '', id = ''], env) =>
    tokenHtml(kind, id, env),
  )
  addToken<Env>(md, 'everyone', '@', everyone, ([all], env) => {
    env.everyone = true
    return all
  })
  md.inline.ruler.before('linkify', 'names', named)
  // Two underscores underline, where Markdown has another way to write bold.
  const underline = (open: string, other: string) => (tokens: { markup: string }[], at: number) =>
    tokens[at]?.markup === '__' ? open : other
  md.renderer.rules['strong_open'] = underline('<u>', '<strong>')
  md.renderer.rules['strong_close'] = underline('</u>', '</strong>')
})

/** A mention as `@Name`, which is what an export with formatted texts makes of it. */
function named(state: StateInline, silent: boolean): boolean {
  if (state.src[state.pos] !== '@' || state.linkLevel > 0) return false
  const env = state.env as Env
  const match = namedAt(state.src, state.pos, env.mentioned)
  if (!match) return false
  if (!silent) state.push('html_inline', '', 0).content = pill(match.id, match.name, env)
  state.pos += match.name.length + 1
  return true
}

function pill(id: string, name: string, env: Env): string {
  env.people.add(id)
  return `<a data-person="${escapeHtml(id)}">@${escapeHtml(name)}</a>`
}

function namedAt(text: string, at: number, mentioned: readonly Mentioned[]) {
  let found: { id: string; name: string } | undefined
  for (const { id, names } of mentioned) {
    for (const name of names) {
      if (text.startsWith(name, at + 1) && name.length > (found?.name.length ?? 0))
        found = { id, name }
    }
  }
  return found
}

function tokenHtml(kind: string, id: string, env: Env): string {
  const text = escapeHtml(tokenText(kind, id, env.names))
  if (kind === '@' || kind === '@!') return pill(id, env.names.person(id) ?? id, env)
  return kind === '#' ? `<a data-room="${escapeHtml(id)}">${text}</a>` : text
}

function tokenText(kind: string, id: string, names: DiscordNames): string {
  if (kind === '@' || kind === '@!') return `@${names.person(id) ?? id}`
  if (kind === '@&') return `@${names.role(id) ?? id}`
  if (kind === '#') return `#${names.channel(id) ?? id}`
  if (kind === 't:') return dateText(id)
  if (kind.startsWith('/')) return kind.slice(0, -1)
  return kind === 'id:' ? id : kind.replace(/^a/, '')
}

function dateText(stamp: string): string {
  const date = new Date(Number(stamp.split(':')[0]) * 1000)
  return Number.isNaN(date.getTime())
    ? stamp
    : date.toISOString().slice(0, 16).replace('T', ' ') + ' UTC'
}

/** The source with its tokens written out: as people type it. */
function plain(source: string, env: Env): string {
  return source.replace(new RegExp(inBrackets.source, 'g'), (_, kind: string, id: string) =>
    tokenText(kind, id, env.names),
  )
}

/**
 * Makes of Discord's blocks what Markdown has: a fence may stand within a line, a quote has a space behind its
 * sign and ends with its line, and three signs quote all that follows.
 */
function asBlocks(source: string): string {
  const parts = source.split(/```(?:([\w+#.-]+)\n)?((?:(?!```)[^])+)```/)
  let text = ''
  for (let at = 0; at < parts.length; at += 3) {
    text += asLines(parts[at]!)
    const code = parts[at + 2]
    if (code === undefined) break
    const before = text === '' || text.endsWith('\n') ? '' : '\n'
    text += `${before}\`\`\`${parts[at + 1] ?? ''}\n${code.replace(/^\n|\n$/g, '')}\n\`\`\`\n`
  }
  return text
}

function asLines(source: string): string {
  if (!source.includes('>') && !source.includes('```')) return source
  let quoting = false
  let before = ''
  const lines: string[] = []
  for (const line of source.replaceAll('```', '\\`\\`\\`').split('\n')) {
    let written = line
    if (quoting) written = `> ${line}`
    else if (line.startsWith('>>> ')) {
      quoting = true
      written = `> ${line.slice(4)}`
    } else if (/^\s*>(?! )/.test(line)) written = line.replace('>', '\\>')
    // Markdown would take the line behind a quote into it.
    if (before.startsWith('> ') && !written.startsWith('> ') && written !== '') lines.push('')
    lines.push(written)
    before = written
  }
  return lines.join('\n')
}

const textRun = /[^\n!#$%&*+\-:<=>@[\\\]^_`{}~|]+/y

function addSpoilers(md: MarkdownIt): void {
  // The library's own rule for text does not stop at a bar.
  md.inline.ruler.at('text', (state, silent) => {
    textRun.lastIndex = state.pos
    const run = textRun.exec(state.src)?.[0].slice(0, state.posMax - state.pos)
    if (!run) return false
    if (!silent) state.pending += run
    state.pos += run.length
    return true
  })
  md.inline.ruler.after('text', 'spoiler', spoiler)
}

function spoiler(state: StateInline, silent: boolean): boolean {
  const { src, pos, posMax } = state
  if (!src.startsWith('||', pos)) return false
  const end = src.indexOf('||', pos + 2)
  if (end <= pos + 2 || end + 2 > posMax) return false
  if (!silent) {
    state.push('spoiler_open', 'span', 1).attrSet('data-mx-spoiler', '')
    state.pos = pos + 2
    state.posMax = end
    state.md.inline.tokenize(state)
    state.push('spoiler_close', 'span', -1)
  }
  state.pos = end + 2
  state.posMax = posMax
  return true
}

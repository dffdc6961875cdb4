import type { Text } from '#importers/format.ts'
import { emojiOf } from '#importers/markup/emoji.ts'
import { escapeHtml } from '#importers/markup/html.ts'
import { createMarkdown } from '#importers/markup/markdown.ts'
import { flag, id, list, text } from '#importers/read/fields.ts'

/** What the message says of the names in its text. */
type Named = { people: ReadonlyMap<string, string>; repos: ReadonlyMap<string, string> }

const markdown = createMarkdown((md) => {
  md.inline.ruler.before('emphasis', 'gitter_mention', (state, silent) => {
    if (state.src[state.pos] !== '@') return false
    const name = /^@([\w~-]+)/.exec(state.src.slice(state.pos, state.pos + 100))?.[1]
    const person = name && (state.env as Named).people.get(name.toLowerCase())
    if (!name || !person) return false
    if (!silent) {
      state.push('html_inline', '', 0).content =
        `<a data-person="${escapeHtml(person)}">@${escapeHtml(name)}</a>`
    }
    state.pos += name.length + 1
    return true
  })
  md.inline.ruler.before('emphasis', 'gitter_issue', (state, silent) => {
    if (state.src[state.pos] !== '#') return false
    const number = /^#(\d+)/.exec(state.src.slice(state.pos, state.pos + 12))?.[1]
    const repo = number && (state.env as Named).repos.get(number)
    if (!number || !repo) return false
    if (!silent) {
      state.push('html_inline', '', 0).content =
        `<a href="https://github.com/${escapeHtml(repo)}/issues/${number}">#${number}</a>`
    }
    state.pos += number.length + 1
    return true
  })
  md.inline.ruler.before('emphasis', 'katex', (state, silent) => {
    if (!state.src.startsWith('$$', state.pos)) return false
    const end = state.src.indexOf('$$', state.pos + 2)
    if (end < 0 || end === state.pos + 2) return false
    const formula = escapeHtml(state.src.slice(state.pos + 2, end))
    if (!silent) {
      state.push('html_inline', '', 0).content =
        `<span data-mx-maths="${formula}"><code>${formula}</code></span>`
    }
    state.pos = end + 2
    return true
  })
  // Text runs on to the next of these.
  md.inline.ruler.at('text', (state, silent) => {
    let at = state.pos
    while (at < state.posMax && !stops.has(state.src.charCodeAt(at))) at++
    if (at === state.pos) return false
    if (!silent) state.pending += state.src.slice(state.pos, at)
    state.pos = at
    return true
  })
})

const stops = new Set('\n!#$%&*+-:<=>@[\\]^_`{}~'.split('').map((each) => each.charCodeAt(0)))
const code = /(```[^]*?(?:```|$)|`[^`\n]*`)/

/** The text of a message of Gitter: its Markdown with mentions, issues, formulas and emoji names. */
export function textOf(message: unknown, source: string): Text {
  const people = new Map<string, string>()
  let mentionsRoom = false
  for (const each of list(message, 'mentions')) {
    const name = text(each, 'screenName')
    const person = id(each, 'userId')
    if (flag(each, 'group') || flag(each, 'announcement')) mentionsRoom = true
    else if (name !== undefined && person !== undefined) people.set(name.toLowerCase(), person)
  }
  const repos = new Map<string, string>()
  for (const each of list(message, 'issues')) {
    const number = id(each, 'number')
    const repo = text(each, 'repo')
    if (number !== undefined && repo && /^[\w.-]+\/[\w.-]+$/.test(repo)) repos.set(number, repo)
  }
  const named: Named = { people, repos }
  return {
    ...markdown(withEmoji(source), named),
    ...(people.size > 0 && { mentions: [...new Set(people.values())] }),
    ...(mentionsRoom && { mentionsRoom }),
  }
}

/** Names of emoji as emoji, but in code, and where colons stand within words or times. */
export function withEmoji(source: string): string {
  if (!/:[+\w-]+:/.test(source)) return source
  return source
    .split(code)
    .map((part, index) =>
      index % 2 === 1
        ? part
        : part.replace(
            /(?<![\w:]):([+\w-]+):(?![\w:])/g,
            (all, name: string) => emojiOf(name, 'github') ?? all,
          ),
    )
    .join('')
}

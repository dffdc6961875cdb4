import type { Env, MarkdownIt, StateInline } from 'markdown-it'

/** Whom a text mentions, gathered while it is rendered; the `env` of a renderer. */
export type Found = { people: Set<string>; everyone: boolean }

/**
 * Adds to a Markdown renderer what it does not know: where `pattern` (sticky, and beginning with `sign`)
 * matches, `html` says what stands there; nothing, if it is text after all.
 */
export function addToken<E extends Env>(
  md: MarkdownIt,
  name: string,
  sign: string,
  pattern: RegExp,
  html: (match: RegExpExecArray, env: E) => string | undefined,
): void {
  const code = sign.charCodeAt(0)
  md.inline.ruler.before('linkify', name, (state: StateInline, silent: boolean) => {
    if (state.src.charCodeAt(state.pos) !== code || state.linkLevel > 0) return false
    pattern.lastIndex = state.pos
    const match = pattern.exec(state.src)
    if (!match || state.pos + match[0].length > state.posMax) return false
    const content = html(match, state.env as E)
    if (content === undefined) return false
    if (!silent) state.push('html_inline', '', 0).content = content
    state.pos += match[0].length
    return true
  })
}

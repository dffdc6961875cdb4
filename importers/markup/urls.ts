import type { MarkdownIt, StateInline } from 'markdown-it'

const colon = 0x3a
const scheme = /(?:^|[^a-z0-9])(https?|ftp)$/i
const rest = /:\/\/[^\s<>"`\\^{|}[\]]+/y
const ascii = /^[\x21-\x7e]+$/

/**
 * Makes links of URLs that are written out. The library's own way finds domains in any script, with and
 * without a scheme, and takes half of the time that a message takes; chats have whole URLs.
 */
export function addUrls(md: MarkdownIt): void {
  md.inline.ruler.at('linkify', url)
}

function url(state: StateInline, silent: boolean): boolean {
  const { src, pos, posMax, linkLevel } = state
  if (src.charCodeAt(pos) !== colon || linkLevel > 0 || src.charCodeAt(pos + 1) !== 0x2f)
    return false
  const name = scheme.exec(src.slice(Math.max(0, pos - 6), pos))?.[1]
  if (name === undefined || (!silent && !state.pending.endsWith(name))) return false
  rest.lastIndex = pos
  const found = rest.exec(src)?.[0].slice(0, posMax - pos)
  if (found === undefined) return false
  const tail = withoutStops(found)
  if (tail.length <= '://'.length) return false
  if (!silent) {
    const text = name + tail
    const href = ascii.test(text) ? text : state.md.normalizeLink(text)
    state.pending = state.pending.slice(0, -name.length)
    const open = state.push('link_open', 'a', 1)
    open.attrs = [['href', href]]
    open.markup = 'linkify'
    open.info = 'auto'
    state.push('text', '', 0).content = text
    const close = state.push('link_close', 'a', -1)
    close.markup = 'linkify'
    close.info = 'auto'
  }
  state.pos += tail.length
  return true
}

/** What ends a sentence ends the URL in it too; so does a bracket that was opened before it. */
function withoutStops(found: string): string {
  let end = found.length
  let unopened = found.split(')').length - found.split('(').length
  for (; end > 0; end--) {
    const last = found[end - 1]!
    if (last === ')' && unopened > 0) unopened--
    else if (!".,;:!?'*_~".includes(last)) break
  }
  return found.slice(0, end)
}

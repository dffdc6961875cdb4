/**
 * Glob patterns: `*` is any text, `?` any one character. Matching takes at most pattern × text steps,
 * whatever the pattern; a regular expression could be made to take for ever.
 *
 * Spec: appendices/#glob-style-matching
 */
export function matchesGlob(pattern: string, text: string): boolean {
  const globs = characters(pattern)
  const subject = characters(text)
  let at = 0
  let position = 0
  // Where to go on after a mismatch: behind the last `*`, with one character more for it.
  let star = -1
  let starPosition = 0
  while (position < subject.length) {
    const glob = globs[at]
    if (glob === '*') {
      star = at++
      starPosition = position
    } else if (glob !== undefined && (glob === '?' || glob === subject[position])) {
      at++
      position++
    } else if (star >= 0) {
      at = star + 1
      position = ++starPosition
    } else return false
  }
  while (globs[at] === '*') at++
  return at === globs.length
}

/** The same made ready, for a pattern that many texts are held against. */
export const globMatcher = (pattern: string): ((text: string) => boolean) =>
  pattern.includes('?') ? (text) => matchesGlob(pattern, text) : starMatcher(pattern)

/**
 * For a pattern of which only `*` is a wildcard. What stands between the stars is looked for from left
 * to right, the first place of each: where a later place would do, so does the first.
 */
export function starMatcher(pattern: string): (text: string) => boolean {
  const parts = pattern.split('*')
  const last = parts.length - 1
  if (last === 0) return (text) => text === pattern
  return (text) => {
    const end = text.length - parts[last]!.length
    let from = parts[0]!.length
    if (from > end || !text.startsWith(parts[0]!) || !text.endsWith(parts[last]!)) return false
    for (let index = 1; index < last; index++) {
      const part = parts[index]!
      const at = text.indexOf(part, from)
      if (at < 0 || at + part.length > end) return false
      from = at + part.length
    }
    return true
  }
}

export const hasWildcard = (pattern: string): boolean => /[*?]/.test(pattern)

/** Code points, so that `?` takes an emoji whole; a text of one-unit characters serves as it is. */
const characters = (text: string): ArrayLike<string> =>
  /[\ud800-\udfff]/.test(text) ? Array.from(text) : text

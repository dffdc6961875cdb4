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

export const hasWildcard = (pattern: string): boolean => /[*?]/.test(pattern)

/** Code points, so that `?` takes an emoji whole; a text of one-unit characters serves as it is. */
const characters = (text: string): ArrayLike<string> =>
  /[\ud800-\udfff]/.test(text) ? Array.from(text) : text

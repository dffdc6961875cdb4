import { hasWildcard, matchesGlob } from '#core/glob.ts'

/** Work for one event, and for all events of one read: 10 and 100 ms. */
const stepsOfEvent = 1_000_000
export const stepsOfRead = 10_000_000

/**
 * Work that the patterns of a user may cost, in characters compared; patterns beyond it do not match.
 * A thousand keywords over a message of 7,000 characters stay below.
 */
export class PatternBudget {
  readonly #whole: PatternBudget | undefined
  #left: number

  /** For one event, as a part of what many events may cost. */
  constructor(steps = stepsOfEvent, whole?: PatternBudget) {
    this.#left = steps
    this.#whole = whole
  }

  /** What is refused costs nothing: behind a pattern that is too dear, cheap ones are tried still. */
  take(steps: number): boolean {
    if (steps > this.#left || this.#whole?.take(steps) === false) return false
    this.#left -= steps
    return true
  }
}

/** A `?` is tried character by character from each place; words alone are looked for, which is quick. */
const stepsOf = (pattern: string, text: string): number =>
  pattern.includes('?')
    ? pattern.length * text.length
    : 16 + (text.length / 8) * (1 + pattern.length / 32)

/** Whether a whole text fits a glob, whatever the case. */
export const matchesWhole = (pattern: string, text: string, budget: PatternBudget): boolean =>
  hasWildcard(pattern)
    ? budget.take(pattern.length * text.length) && matchesGlob(pattern, text.toLowerCase())
    : budget.take(16 + text.length / 8) && pattern === text.toLowerCase()

/**
 * Whether some stretch of words of a text fits a glob, whatever the case: it starts and ends at the
 * end of the text or beside what is no letter, digit or underscore of ASCII.
 *
 * The parts between the stars are looked for from left to right, the first place of each: where a
 * later place would do, so does the first. So nothing is tried twice.
 *
 * Spec: client-server-api/#conditions-1
 */
export function matchesWords(pattern: string, text: string, budget: PatternBudget): boolean {
  if (!budget.take(stepsOf(pattern, text))) return false
  const subject = text.toLowerCase()
  const parts = pattern.split('*')
  const last = parts.length - 1
  let from = 0
  for (const [index, part] of parts.entries()) {
    if (part === '') continue
    const end = findPart(subject, part, from, { opens: index === 0, closes: index === last })
    if (end < 0) return false
    from = end
  }
  return true
}

type Edges = { opens: boolean; closes: boolean }

/** Where the first fitting place of a part ends, from a place on. */
function findPart(text: string, part: string, from: number, { opens, closes }: Edges): number {
  const literal = !part.includes('?')
  for (let at = from; at <= text.length; at++) {
    if (literal) {
      at = text.indexOf(part, at)
      if (at < 0) return -1
    }
    if (opens && !isBoundary(text, at)) continue
    const end = literal ? at + part.length : endOf(text, part, at)
    if (end >= 0 && (!closes || isBoundary(text, end))) return end
  }
  return -1
}

/** Where a part that begins at a place ends; −1 if it does not fit there. `?` takes an emoji whole. */
function endOf(text: string, part: string, at: number): number {
  let end = at
  for (const glob of part) {
    const point = text.codePointAt(end)
    if (point === undefined || (glob !== '?' && glob.codePointAt(0) !== point)) return -1
    end += point > 0xffff ? 2 : 1
  }
  return end
}

const isBoundary = (text: string, at: number): boolean =>
  at === 0 || at === text.length || !isWord(text, at - 1) || !isWord(text, at)

const isWord = (text: string, at: number): boolean => /\w/.test(text[at]!)

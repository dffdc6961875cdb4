/** What an event may weigh besides its content: IDs, hashes, signatures, what it cites. */
const largestEvent = 65_536
const restOfEvent = 6_000

/** The most that content may weigh as JSON. */
export const largestContent = largestEvent - restOfEvent

/** What a value weighs as JSON. */
export function weightOf(value: unknown): number {
  return Buffer.byteLength(JSON.stringify(value))
}

/**
 * A text in pieces of at most so many bytes as JSON, cut between paragraphs, lines or words where there are
 * any near. The pieces one after another are the text.
 */
export function splitText(text: string, most: number): string[] {
  const pieces: string[] = []
  let rest = text
  while (weightOf(rest) > most) {
    const end = cutOf(rest, most)
    pieces.push(rest.slice(0, end))
    rest = rest.slice(end)
  }
  return rest === '' && pieces.length > 0 ? pieces : [...pieces, rest]
}

function cutOf(text: string, most: number): number {
  let low = 1
  let high = Math.min(text.length, most)
  while (low < high) {
    const middle = Math.ceil((low + high) / 2)
    if (weightOf(text.slice(0, middle)) <= most) low = middle
    else high = middle - 1
  }
  const near = Math.floor(low * 0.6)
  for (const end of ['\n\n', '\n', ' ']) {
    const found = text.lastIndexOf(end, low - end.length)
    if (found >= near) return found + end.length
  }
  // Not between the halves of a character.
  return low > 1 && /[\uD800-\uDBFF]/.test(text[low - 1]!) ? low - 1 : low
}

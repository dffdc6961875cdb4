import type { Wish } from '#store/media/thumbnails.ts'

/** Boxes that thumbnails of `scale` fill. The first three of the spec are among them. */
const boxes: readonly (readonly [number, number])[] = [
  [32, 32],
  [96, 96],
  [320, 240],
  [640, 480],
  [800, 600],
  [1280, 960],
  [1920, 1440],
]
const sides = [32, 96, 160, 320, 640, 1280, 1920]
/** The shorter side is so many eighths of the longer one. */
const parts = 8

/**
 * The thumbnail that is made for a wish: never smaller, and one of a few, so that nobody can have
 * thousands of them made of one image. Undefined: only the original is large enough.
 *
 * Spec: client-server-api/#thumbnails
 */
export function sizeFor(wish: Wish): Wish | undefined {
  return wish.method === 'scale' ? scaleFor(wish) : cropFor(wish)
}

function scaleFor(wish: Wish): Wish | undefined {
  const box = boxes.find(([width, height]) => width >= wish.width && height >= wish.height)
  return box && { ...wish, width: box[0], height: box[1] }
}

/** The longer side is one of a few lengths; the shape is kept, but for a rounding. */
function cropFor(wish: Wish): Wish | undefined {
  const longer = Math.max(wish.width, wish.height)
  const side = sides.find((each) => each >= longer)
  if (side === undefined) return undefined
  const grown = (length: number) => Math.ceil((length / longer) * parts) * (side / parts)
  return { ...wish, width: grown(wish.width), height: grown(wish.height) }
}

import type { AuthEdges } from './auth-difference.ts'
import type { Steps } from './steps.ts'

const eventsPerStep = 1024

/**
 * Finds the conflicted state subgraph (v2.1): every event on a path of auth edges from one conflicted
 * event to another, by walking auth chains. An index of auth chains answers the same in large rooms.
 *
 * Spec: rooms/v12/#definitions
 */
export function* conflictedSubgraph(
  conflicted: Iterable<number>,
  authOf: AuthEdges,
): Steps<number[]> {
  // Down: all that conflicted events lead to, and by what.
  const citedBy = new Map<number, number[]>()
  const ends = new Set(conflicted)
  const below = new Set<number>(ends)
  const open = [...ends]
  let step = 0
  while (open.length > 0) {
    const event = open.pop()!
    for (const auth of authOf(event)) {
      const citing = citedBy.get(auth)
      if (citing === undefined) citedBy.set(auth, [event])
      else citing.push(event)
      if (below.has(auth)) continue
      below.add(auth)
      open.push(auth)
    }
    if (++step % eventsPerStep === 0) yield
  }
  // And up again, from the conflicted events that others lead to.
  const between = new Set(ends)
  open.push(...ends)
  while (open.length > 0) {
    for (const citing of citedBy.get(open.pop()!) ?? []) {
      if (between.has(citing)) continue
      between.add(citing)
      open.push(citing)
    }
    if (++step % eventsPerStep === 0) yield
  }
  return [...between]
}

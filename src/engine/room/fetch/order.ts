import type { Pace } from '#engine/room/fetch/pace.ts'

/**
 * Orders events so that each comes after its parents, as far as these are among them; otherwise as
 * they were given. Events on a cycle are in `cyclic` and not in `order`: IDs of v1–v2, which are no
 * hashes, allow one.
 */
export async function orderByParents(
  ids: Iterable<string>,
  parentsOf: (id: string) => readonly string[] | undefined,
  pace: Pace,
): Promise<{ order: string[]; cyclic: Set<string> }> {
  const order: string[] = []
  const cyclic = new Set<string>()
  const done = new Set<string>()
  // The path from the event at hand to the one that is looked at, and where on it each event is.
  const path: { id: string; parents: readonly string[]; next: number }[] = []
  const places = new Map<string, number>()
  const enter = (id: string) => {
    const parents = parentsOf(id)
    if (!parents || done.has(id)) return
    const place = places.get(id)
    if (place === undefined) {
      places.set(id, path.length)
      path.push({ id, parents, next: 0 })
    } else for (const { id: each } of path.slice(place)) cyclic.add(each)
  }
  for (const first of ids) {
    enter(first)
    for (let at = path.at(-1); at; at = path.at(-1)) {
      if (pace.due) await pace.rest()
      if (at.next < at.parents.length) {
        enter(at.parents[at.next++]!)
        continue
      }
      path.pop()
      places.delete(at.id)
      done.add(at.id)
      if (!cyclic.has(at.id)) order.push(at.id)
    }
  }
  return { order, cyclic }
}

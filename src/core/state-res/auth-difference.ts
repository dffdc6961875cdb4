import type { Conflicts } from './conflicts.ts'
import type { Steps } from './steps.ts'

/** The numbers of an event's `auth_events`. */
export type AuthEdges = (event: number) => readonly number[]

const eventsPerStep = 1024

/**
 * Finds the auth difference by walking auth chains: right, and slow in a large room, where an index
 * of auth chains answers instead. `unconflicted` gives the events that all states share.
 *
 * Spec: rooms/v2/#definitions (auth difference)
 *
 * Not spec: a state's own events count as part of its auth chain. The text takes only what they cite,
 * but every server counts them too (the text was written after such a server), and servers that
 * differ here would not agree on a room: of random forks, one in a thousand resolves differently.
 */
export function* authDifference(
  conflicts: Conflicts,
  unconflicted: Iterable<number>,
  authOf: AuthEdges,
): Steps<number[]> {
  // What the shared events lead to is in every auth chain.
  const shared = new Set<number>()
  yield* reach(unconflicted, authOf, shared, none)
  const counts = new Map<number, number>()
  for (const events of conflicts.perState) {
    const chain = new Set<number>()
    yield* reach(events, authOf, chain, shared)
    for (const event of chain) counts.set(event, (counts.get(event) ?? 0) + 1)
  }
  return [...counts]
    .filter(([, count]) => count < conflicts.perState.length)
    .map(([event]) => event)
}

const none: ReadonlySet<number> = new Set()

/** Adds to `chain` what the events lead to, and the events themselves, but nothing of `except`. */
function* reach(
  events: Iterable<number>,
  authOf: AuthEdges,
  chain: Set<number>,
  except: ReadonlySet<number>,
): Steps<void> {
  const open: number[] = []
  const visit = (event: number) => {
    if (chain.has(event) || except.has(event)) return
    chain.add(event)
    open.push(event)
  }
  let step = 0
  for (const event of events) {
    visit(event)
    while (open.length > 0) {
      for (const auth of authOf(open.pop()!)) visit(auth)
      if (++step % eventsPerStep === 0) yield
    }
  }
}

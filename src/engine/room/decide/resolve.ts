import type { StateKey } from '#core/event/auth-events.ts'
import { authEventKeys } from '#core/event/auth-events.ts'
import {
  alsoNeeded,
  fullConflictedSet,
  type Resolution,
  type Settled,
} from '#core/state-res/resolvable.ts'
import { sortInSteps } from '#core/state-res/steps.ts'
import { changesTo, conflictsOf } from '#store/room/state-conflicts.ts'
import type { StateMap } from '#store/room/state-map.ts'
import type { Parts } from '#engine/room/parts.ts'
import { type Own, resolveOneMore } from '#engine/room/decide/one-more.ts'
import { type Done, How } from '#engine/room/decide/resolutions.ts'
import { isRejected, type Known, type Room } from '#engine/room/room.ts'
import { type Task, steps, wait } from '#engine/room/task.ts'

/** Events, or places, between two yields, and events that are looked up together. */
const perStep = 500
const perRead = 5_000

/** Each state once. */
export function distinct(states: readonly StateMap[]): StateMap[] {
  if (states.length === 1) return [...states]
  // There may be a hundred of them.
  const found = new Map<string, StateMap>()
  for (const state of states) if (!found.has(state.text)) found.set(state.text, state)
  return [...found.values()]
}

/**
 * What states of a room resolve to. Whatever the core may ask for is read before. `own` is an event
 * that is just being decided: in one of the states, and cited by nothing.
 */
export function* resolveStates(
  parts: Parts,
  room: Room,
  given: readonly StateMap[],
  own?: Own,
): Task<StateMap> {
  const states = distinct(given)
  if (states.length === 1) return states[0]!
  const done = room.resolutions.find(room, states) ?? (yield* goOn(parts, room, states, own))
  if (done) return done.to
  const underWay = { since: parts.now() }
  room.resolving.add(underWay)
  const began = performance.now()
  parts.counters.resolutions++
  try {
    const { to, how } = yield* resolveAnew(parts, room, states, own?.known)
    room.resolutions.keep({ states, to, how })
    return to
  } finally {
    room.resolving.delete(underWay)
    parts.counters.resolutionMs += Math.round(performance.now() - began)
  }
}

/** By what was resolved with the state before an event instead of that after it, if that says enough. */
function* goOn(
  parts: Parts,
  room: Room,
  states: readonly StateMap[],
  own: Own | undefined,
): Task<Done | undefined> {
  if (!own) return undefined
  const others = states.filter(({ text }) => text !== own.after.text)
  if (others.length === states.length) return undefined
  const prior = room.resolutions.find(room, distinct([...others, own.before]))
  if (!prior?.how) return undefined
  const graph = yield* room.auth.read(parts.sql, room)
  const done = yield* resolveOneMore(parts, room, graph, prior, own, states)
  if (!done) return undefined
  parts.counters.mergesFast++
  room.resolutions.keep(done, prior)
  return done
}

function* resolveAnew(
  parts: Parts,
  room: Room,
  states: readonly StateMap[],
  own: Known | undefined,
): Task<{ to: StateMap; how: How | undefined }> {
  if (!room.create) throw new Error(`${room.roomId} has no create event`)
  const conflicts = yield* steps(conflictsOf(states))
  const base = states[0]!
  const graph = yield* room.auth.read(parts.sql, room)
  const shared = function* () {
    for (const [key, event] of base) if (!conflicts.candidates.has(key)) yield event
  }
  const conflicted = [...conflicts.candidates.values()].flat()
  const isV1 = room.version.stateResolution === 'v1'
  // It is not in the graph, but what it cites is.
  const above = own && !graph.has(own.nid) ? own.authNids : []
  const perState = conflicts.perState.map((events) =>
    own && events.includes(own.nid) ? [...events, ...above] : events,
  )
  const difference = isV1 ? [] : yield* steps(graph.difference(perState, shared()))
  const subgraph =
    room.version.stateResolution === 'v2.1' ? yield* steps(graph.subgraph(conflicted, above)) : []

  const found = new Map<number, Known>()
  if (own) found.set(own.nid, own)
  const unconflicted = (key: number) => (conflicts.candidates.has(key) ? undefined : base.get(key))
  let settled: Settled | undefined
  const places = new Map<string, number>()
  const resolution: Resolution = {
    conflicts,
    authDifference: difference,
    subgraph,
    create: room.create,
    event: (nid) => {
      const known = found.get(nid)
      if (!known) throw new Error(`resolving ${room.roomId} asked for event ${nid}`)
      const { event, stateKeyNid, authNids } = known
      return { key: stateKeyNid!, event, auth: authNids, rejected: isRejected(known) }
    },
    powerLevelsOf: (nid) => found.get(nid)?.authNids.find((auth) => isPowerLevels(found.get(auth))),
    keyOf: (type, stateKey) => places.get(placeOf(type, stateKey)),
    unconflicted,
    settled: (how) => (settled = how),
  }
  const full = yield* steps(fullConflictedSet(resolution))
  yield* read(parts, room, full, found)
  yield* numbersOfKeys(parts, full, found, places)
  yield* read(parts, room, yield* steps(alsoNeeded(full, resolution)), found)
  yield* readPowerLevels(parts, room, found)
  const resolved = yield* steps(parts.resolve(room.version, resolution))
  const to = yield* changed(base, changesTo(base, conflicts, resolved))
  if (!settled || !own) return { to, how: undefined }
  const between = room.version.stateResolution === 'v2.1' ? [...subgraph, ...conflicted] : []
  return { to, how: yield* howItCame(settled, { difference, between }, found) }
}

/** A state after many changes, some at a time. */
function* changed(
  base: StateMap,
  changes: ReadonlyMap<number, number | undefined>,
): Task<StateMap> {
  let state = base
  const sorted = yield* steps(sortInSteps([...changes], (a, b) => a[0] - b[0]))
  for (let from = 0; from < sorted.length; from += perStep) {
    state = state.with(sorted.slice(from, from + perStep))
    yield
  }
  return state
}

/** What a later resolution goes on from; undefined if there is a rejected event, which may cite whatever it likes. */
function* howItCame(
  settled: Settled,
  sets: { difference: Iterable<number>; between: Iterable<number> },
  found: ReadonlyMap<number, Known>,
): Task<How | undefined> {
  const how = new How(settled, sets)
  let step = 0
  for (const nid of settled.full) {
    const known = found.get(nid)!
    if (isRejected(known)) return undefined
    how.note(known)
    if (++step % perStep === 0) yield
  }
  return how
}

/** NUL is in no type and no state key. */
const placeOf = (type: string, stateKey: string) => `${type}\0${stateKey}`

const isPowerLevels = (known: Known | undefined) =>
  known?.event.type === 'm.room.power_levels' && known.event.stateKey === ''

function* read(
  parts: Parts,
  room: Room,
  nids: Iterable<number>,
  found: Map<number, Known>,
): Task<void> {
  let some: number[] = []
  for (const nid of nids) {
    if (found.has(nid)) continue
    some.push(nid)
    if (some.length < perRead) continue
    for (const [each, known] of yield* parts.events.byNids(room, some)) found.set(each, known)
    some = []
    yield
  }
  for (const [each, known] of yield* parts.events.byNids(room, some)) found.set(each, known)
}

/** The numbers of every place that an event of the conflicted set asks for, or stands at. */
function* numbersOfKeys(
  parts: Parts,
  full: ReadonlySet<number>,
  found: ReadonlyMap<number, Known>,
  places: Map<string, number>,
): Task<void> {
  let stateKeys: StateKey[] = []
  const add = (key: StateKey) => {
    const name = placeOf(...key)
    if (places.has(name)) return
    places.set(name, 0)
    stateKeys.push(key)
  }
  const look = function* (): Task<void> {
    const numbers = yield* wait(parts.interner.intern({ stateKeys }))
    for (const key of stateKeys) places.set(placeOf(...key), numbers.stateKey(...key))
    stateKeys = []
  }
  add(['m.room.create', ''])
  add(['m.room.power_levels', ''])
  add(['m.room.join_rules', ''])
  let step = 0
  for (const nid of full) {
    const { event } = found.get(nid)!
    for (const key of authEventKeys(event)) add(key)
    if (event.stateKey !== undefined) add([event.type, event.stateKey])
    if (stateKeys.length >= perStep) yield* look()
    if (++step % perStep === 0) yield
  }
  yield* look()
}

/** The power levels on which events rest, and on which those rest, down to the first. */
function* readPowerLevels(parts: Parts, room: Room, found: Map<number, Known>): Task<void> {
  let open: Iterable<Known> = [...found.values()]
  for (;;) {
    const fresh = new Set<number>()
    let step = 0
    for (const { authNids } of open) {
      for (const nid of authNids) if (!found.has(nid)) fresh.add(nid)
      if (++step % perStep === 0) yield
    }
    if (fresh.size === 0) return
    yield* read(parts, room, fresh, found)
    // Only power levels lead on.
    open = [...fresh].map((nid) => found.get(nid)!).filter(isPowerLevels)
    yield
  }
}

import { describe, expect, test } from 'bun:test'
import { authorize } from '#core/auth/authorize.ts'
import { findConflicts } from '#core/state-res/conflicts.ts'
import { resolve } from '#core/state-res/resolve.ts'
import { run } from '#core/state-res/steps.ts'
import type { RoomEvent } from '#core/event/pdu.ts'
import { stateLookup } from '#test/differential/compare.ts'
import { generateRoom, hasSigned, type GeneratedRoom } from '#test/differential/generate.ts'
import { placeOf, RoomGraph, type NamedState } from '#test/differential/graph.ts'
import { restartNames } from '#test/differential/make-event.ts'
import { Random } from '#test/differential/random.ts'
import { blank, versions } from '#test/core/auth/stage.ts'
import { makeEvent } from '#test/differential/make-event.ts'

const rooms = 25

function roomsOf(version: GeneratedRoom['version']): { room: GeneratedRoom; random: Random }[] {
  return Array.from({ length: rooms }, (_, seed) => {
    restartNames()
    const random = new Random(seed)
    return { room: generateRoom(version, random, 10 + random.below(40)), random }
  })
}

const written = (state: NamedState) => [...state].map(([place, id]) => `${place} ${id}`).sort()

/** The same events, numbered in another order that still puts what is cited first. */
function renumber({ graph }: GeneratedRoom, random: Random): RoomGraph {
  const { create, events, rejected } = graph
  const copy = new RoomGraph(create)
  const waiting = new Set([...events.values()].filter((event) => event !== create))
  while (waiting.size > 0) {
    const ready = [...waiting].filter(({ authEvents }) =>
      authEvents.every((id) => copy.events.has(id)),
    )
    const next = random.pick(ready)
    copy.add(next, rejected.has(next.eventId))
    waiting.delete(next)
  }
  return copy
}

describe.each(versions)('the state of a room of version $id', (version) => {
  test('does not depend on the order of the states, nor on one that is there twice', () => {
    for (const { room, random } of roomsOf(version)) {
      const expected = written(room.graph.resolve(room.states))
      const again = [...room.states, random.pick(room.states)]
      for (const states of [random.shuffle(room.states), random.shuffle(again)])
        expect(written(room.graph.resolve(states))).toEqual(expected)
    }
  })

  test('does not depend on how events and keys are numbered', () => {
    for (const { room, random } of roomsOf(version)) {
      const other = renumber(room, random)
      expect(written(other.resolve(room.states))).toEqual(written(room.graph.resolve(room.states)))
    }
  })

  test('does not depend on the order in which the auth difference is told', () => {
    for (const { room, random } of roomsOf(version)) {
      const packed = room.states.map((state) => room.graph.pack(state))
      const conflicts = run(findConflicts(packed))
      const resolution = run(room.graph.resolution(packed, conflicts))
      const shuffled = {
        ...resolution,
        authDifference: random.shuffle([...resolution.authDifference]),
        subgraph: random.shuffle([...resolution.subgraph]),
      }
      const result = (given: typeof resolution) =>
        new Map([...run(resolve(version, given))].sort(([a], [b]) => a - b))
      expect(result(shuffled)).toEqual(result(resolution))
    }
  })

  test('is the same however its events arrive: one by one, or in batches, in any order', () => {
    for (const { room, random } of roomsOf(version)) {
      const all = [...room.graph.events.values()]
      const first = receive(all, () => 1, random)
      for (const batch of [1, 5, all.length])
        expect(receive(all, () => 1 + random.below(batch), random)).toEqual(first)
    }
  })

  test('is among the states, and has what they agree on', () => {
    for (const { room } of roomsOf(version)) {
      const resolved = room.graph.resolve(room.states)
      for (const [place, id] of room.states[0]!)
        if (room.states.every((state) => state.get(place) === id))
          expect(resolved.get(place)).toBe(id)
    }
  })
})

/**
 * A server that gets events in some order, each when what it follows is there, and works out its
 * state at the end of each batch only.
 */
function receive(all: readonly RoomEvent[], batchSize: () => number, random: Random): string[] {
  const create = all.find(({ type }) => type === 'm.room.create')!
  const graph = new RoomGraph(create)
  const after = new Map([
    [create.eventId, new Map([[placeOf('m.room.create', ''), create.eventId]])],
  ])
  const tips = new Set([create.eventId])
  const waiting = new Set(all.filter((event) => event !== create))
  let current: NamedState = after.get(create.eventId)!
  while (waiting.size > 0) {
    for (let left = batchSize(); left > 0 && waiting.size > 0; left--) {
      const next = random.pick([...waiting].filter((event) => isReady(event, graph)))
      waiting.delete(next)
      const before = graph.resolve(next.prevEvents.map((id) => after.get(id)!))
      const allowed = authorize(next, stateLookup(before, graph.events), hasSigned(next)).allowed
      graph.add(next, !allowed)
      const state = new Map(before)
      if (allowed && next.stateKey !== undefined)
        state.set(placeOf(next.type, next.stateKey), next.eventId)
      after.set(next.eventId, state)
      if (!allowed) continue
      for (const id of next.prevEvents) tips.delete(id)
      tips.add(next.eventId)
    }
    const states = random.shuffle([...tips]).map((id) => after.get(id)!)
    current = graph.resolve(states)
  }
  return written(current)
}

const isReady = ({ authEvents, prevEvents }: RoomEvent, graph: RoomGraph): boolean =>
  [...authEvents, ...prevEvents].every((id) => graph.events.has(id))

/** A room whose power levels were changed very often, each change resting on the one before. */
function longRoom(version: (typeof versions)[number], length: number) {
  const create = makeEvent(version, version.createEventIsRoomId ? undefined : '!r:a.example', {
    ...blank,
    type: 'm.room.create',
    stateKey: '',
    sender: '@a:a.example',
    content: version.creatorInContent ? { creator: '@a:a.example' } : {},
  })
  const graph = new RoomGraph(create)
  const basis = version.createEventIsRoomId ? [] : [create.eventId]
  const add = (type: string, stateKey: string, content: RoomEvent['content'], cited: string[]) => {
    const draft = { ...blank, type, stateKey, sender: '@a:a.example', content }
    const ts = graph.events.size
    const authEvents = [...basis, ...cited]
    const event = makeEvent(version, create.roomId, { ...draft, authEvents, ts, depth: ts })
    graph.add(event)
    return event.eventId
  }
  const join = add('m.room.member', '@a:a.example', { membership: 'join' }, [])
  const users = version.privilegedCreators ? {} : { '@a:a.example': 100 }
  let levels = add('m.room.power_levels', '', { users, n: 0 }, [join])
  const early = levels
  for (let n = 1; n < length; n++)
    levels = add('m.room.power_levels', '', { users, n }, [join, levels])
  const shared: [string, string][] = [
    [placeOf('m.room.create', ''), create.eventId],
    [placeOf('m.room.member', '@a:a.example'), join],
  ]
  const place = placeOf('m.room.power_levels', '')
  const old = new Map([...shared, [place, early] as const])
  const late = new Map([...shared, [place, levels] as const])
  return { graph, old, late, levels, place }
}

test.each(versions.filter(({ id }) => id === '10' || id === '12'))(
  'a chain of 5,000 power levels is resolved without depth, in turns of bounded work (version $id)',
  (version) => {
    const { graph, old, late, levels, place } = longRoom(version, 5000)
    const lookup = graph.event
    let work = 0
    let most = 0
    graph.event = (nid) => {
      work++
      return lookup(nid)
    }
    const steps = graph.resolveSteps([old, late])
    let next = steps.next()
    let turns = 0
    for (; next.done !== true; next = steps.next()) {
      turns++
      if (turns > 1) most = Math.max(most, work)
      work = 0
    }
    expect(next.value.get(place)).toBe(levels)
    expect(turns).toBeGreaterThan(300)
    expect(most).toBeLessThan(5000)
  },
)

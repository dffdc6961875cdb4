import { createHash } from 'node:crypto'
import { authorize } from '#core/auth/authorize.ts'
import type { RoomEvent } from '#core/event/pdu.ts'
import type { Resolution } from './resolvable.ts'
import type { Steps } from './steps.ts'

const keysPerStep = 256

/**
 * State resolution of v1. A key that is merely absent from some states is no conflict there.
 *
 * Spec: rooms/v1/#state-resolution
 */
export function* resolveV1(resolution: Resolution): Steps<Map<number, number>> {
  const resolved = new Map<number, number>()
  const conflicting = new Map<number, Candidate[]>()
  let step = 0
  for (const [key, events] of resolution.conflicts.candidates) {
    if (++step % keysPerStep === 0) yield
    if (events.length === 1) resolved.set(key, events[0]!)
    else
      conflicting.set(
        key,
        events.map((nid) => candidate(nid, resolution)),
      )
  }
  // First the power levels, then the join rules, then the members: each pass sees what those before
  // it have made, and members do not see each other's.
  for (const isOfPass of [isPowerLevels, isJoinRules, isMember]) {
    const pass: [number, number][] = []
    for (const [key, candidates] of conflicting) {
      if (!isOfPass(candidates[0]!.event)) continue
      conflicting.delete(key)
      pass.push([key, firstLine(key, candidates, resolved, resolution)])
      yield
    }
    for (const [key, nid] of pass) {
      resolved.set(key, nid)
      if (++step % keysPerStep === 0) yield
    }
  }
  const rest = new Map<number, number>()
  for (const [key, candidates] of conflicting) {
    rest.set(key, latestAllowed(candidates, resolved, resolution))
    yield
  }
  for (const [key, nid] of rest) {
    resolved.set(key, nid)
    if (++step % keysPerStep === 0) yield
  }
  return resolved
}

const isPowerLevels = ({ type, stateKey }: RoomEvent) =>
  type === 'm.room.power_levels' && stateKey === ''
const isJoinRules = ({ type }: RoomEvent) => type === 'm.room.join_rules'
const isMember = ({ type }: RoomEvent) => type === 'm.room.member'

type Candidate = Readonly<{ nid: number; event: RoomEvent; sha1: string }>

function candidate(nid: number, resolution: Resolution): Candidate {
  const { event } = resolution.event(nid)
  return { nid, event, sha1: createHash('sha1').update(event.eventId).digest('hex') }
}

/** By rising depth, then by falling SHA-1 of the event ID. */
function byDepth(a: Candidate, b: Candidate): number {
  if (a.event.depth !== b.event.depth) return a.event.depth - b.event.depth
  return a.sha1 === b.sha1 ? 0 : a.sha1 > b.sha1 ? -1 : 1
}

/** Goes up from the first event for as long as each is allowed by the one before. */
function firstLine(
  key: number,
  candidates: readonly Candidate[],
  resolved: ReadonlyMap<number, number>,
  resolution: Resolution,
): number {
  const [first, ...others] = [...candidates].sort(byDepth)
  let current = first!.nid
  for (const next of others) {
    const state = (wanted: number) => (wanted === key ? current : resolved.get(wanted))
    if (!isAllowed(next.event, state, resolution)) break
    current = next.nid
  }
  return current
}

/**
 * Not spec: if none is allowed the first is taken, as every server does; the spec says nothing of it.
 */
function latestAllowed(
  candidates: readonly Candidate[],
  resolved: ReadonlyMap<number, number>,
  resolution: Resolution,
): number {
  const sorted = [...candidates].sort(byDepth)
  const state = (key: number) => resolved.get(key)
  const last = sorted.findLast(({ event }) => isAllowed(event, state, resolution))
  return (last ?? sorted[0]!).nid
}

function isAllowed(
  event: RoomEvent,
  state: (key: number) => number | undefined,
  resolution: Resolution,
): boolean {
  const lookup = (type: string, stateKey: string) => {
    const key = resolution.keyOf(type, stateKey)
    if (key === undefined) return undefined
    const nid = state(key) ?? resolution.unconflicted(key)
    return nid === undefined ? undefined : resolution.event(nid).event
  }
  return authorize(event, lookup, signedOnReceipt).allowed
}

/** Signatures were checked when the event came in. */
const signedOnReceipt = () => true

import { authorize, checkAuthEvents } from '#core/auth/authorize.ts'
import type { StateLookup } from '#core/event/auth-events.ts'
import { contentHash, referenceHash } from '#core/event/hash.ts'
import type { RoomEvent } from '#core/event/pdu.ts'
import type { Verdict } from '#core/verdict.ts'
import { hasSigned, type EventCase, type GeneratedRoom } from './generate.ts'
import { placeOf, type NamedState } from './graph.ts'
import type { CaseAnswer, Question } from './oracle.ts'

/** A room, what is asked about it, and the events of another room that its cases may cite. */
export type Trial = Readonly<{
  room: GeneratedRoom
  cases: readonly EventCase[]
  foreign: ReadonlyMap<string, RoomEvent>
}>

export function questionOf({ room, cases, foreign }: Trial): Question {
  const { graph } = room
  return {
    version: room.version.id,
    roomId: graph.create.roomId,
    events: [...graph.events.values()].map((event) => [event.eventId, textOf(event)]),
    rejected: [...graph.rejected],
    sets: room.states.map((state) => [...state.values()]),
    foreign: [...foreign.values()].map(textOf),
    cases: cases.map(({ event, state }) => ({ event: textOf(event), state: [...state.values()] })),
  }
}

const textOf = (event: RoomEvent): string => JSON.stringify(event.pdu)

/** What Laneway says of an event, in the three parts that Synapse is asked for too. */
export type Judgement = Readonly<{ independent: Verdict; byAuth: Verdict; byState: Verdict }>

export function judge(test: EventCase, foreign: ReadonlyMap<string, RoomEvent>): Judgement {
  const { event, known, rejected } = test
  const find = (id: string) => known.get(id) ?? foreign.get(id)
  const cited = event.authEvents.flatMap((id) => find(id) ?? [])
  return {
    independent: checkAuthEvents(event, find, (id) => rejected.has(id)),
    byAuth: authorize(event, lookupIn(event, cited, find), hasSigned(event)),
    byState: authorize(event, stateLookup(test.state, known), hasSigned(event)),
  }
}

/** Later entries win, as in a dictionary; from v12 on the create event is always there. */
function lookupIn(
  event: RoomEvent,
  cited: readonly RoomEvent[],
  find: (id: string) => RoomEvent | undefined,
): StateLookup {
  return (type, stateKey) => {
    const found = cited.findLast((auth) => auth.type === type && auth.stateKey === stateKey)
    if (found !== undefined || type !== 'm.room.create') return found
    return event.version.createEventIsRoomId ? find(`$${event.roomId.slice(1)}`) : undefined
  }
}

export function stateLookup(state: NamedState, known: ReadonlyMap<string, RoomEvent>): StateLookup {
  return (type, stateKey) => {
    const id = state.get(placeOf(type, stateKey))
    return id === undefined ? undefined : known.get(id)
  }
}

/** A point on which the two do not agree. */
export type Difference = Readonly<{ point: string; ours: string; synapse: string }>

/** Compares hashes and ID, and the verdicts; those by the auth events only where these are sound. */
export function compareCase(test: EventCase, ours: Judgement, answer: CaseAnswer): Difference[] {
  const { event } = test
  const { version, pdu } = event
  const differences: Difference[] = []
  const same = (point: string, mine: string | undefined, theirs: string | undefined) => {
    if (mine !== theirs) differences.push({ point, ours: `${mine}`, synapse: `${theirs}` })
  }
  if (answer.unreadable !== undefined)
    return [{ point: 'format', ours: 'readable', synapse: answer.unreadable }]
  same('event ID', event.eventId, answer.eventId)
  same('content hash', contentHash(version, pdu), answer.contentHash)
  same('reference hash', referenceHash(version, pdu), answer.referenceHash)
  const judged = (point: keyof Judgement, mine: Verdict, theirs: string) => {
    if (mine.allowed !== (theirs === 'allow'))
      differences.push({ point, ours: wordsOf(mine), synapse: theirs })
  }
  const allows = (...verdicts: string[]) => verdicts.find((words) => words !== 'allow') ?? 'allow'
  // Synapse may stumble over a content before it has looked at all auth events.
  if (!answer.independent.startsWith('crash'))
    judged('independent', ours.independent, answer.independent)
  const byAuth = ours.independent.allowed ? ours.byAuth : ours.independent
  judged('byAuth', byAuth, allows(answer.independent, answer.signed, answer.byAuth))
  if (event.type !== 'm.room.create')
    judged('byState', ours.byState, allows(answer.signed, answer.byState))
  return differences
}

const wordsOf = (verdict: Verdict): string =>
  verdict.allowed ? 'allow' : `reject: ${verdict.reason}`

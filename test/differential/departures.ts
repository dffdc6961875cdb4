import { levelOf } from '#core/auth/levels.ts'
import type { RoomEvent } from '#core/event/pdu.ts'
import { domainOf } from '#core/ids.ts'
import { isObject, type Json } from '#core/json.ts'
import type { Difference, Trial } from './compare.ts'
import type { EventCase } from './generate.ts'

/**
 * Where Synapse departs from the spec, and Laneway does not. Each is recognised from the event or
 * room and from what the two say of it, counted, and printed; everything else must agree.
 *
 * Where all servers agree, and the words of the spec say otherwise or nothing, Laneway goes with the
 * servers: `Not spec:` in src/core/auth and src/core/state-res.
 */
export type Departure = Readonly<{
  name: string
  reason: string
  explainsCase?(test: EventCase, difference: Difference): boolean
  explainsRoom?(trial: Trial, differing: readonly RoomEvent[]): boolean
}>

const allowedHere = ({ ours }: Difference) => ours === 'allow'
const refusedThere = ({ synapse }: Difference, words: string) => synapse.includes(words)

export const departures: readonly Departure[] = [
  {
    name: 'target-of-another-server',
    reason:
      'In a room that does not federate Synapse asks for the server of the target of a member event ' +
      'too; the rule names the sender only. Nor may m.federate be anything but true there.',
    explainsCase: (_, difference) =>
      allowedHere(difference) && refusedThere(difference, 'marked as unfederatable'),
    explainsRoom: ({ room }) =>
      room.graph.create.content['m.federate'] === false &&
      [...room.graph.events.values()].some((event) => isOfOtherServer(event, room.graph.create)),
  },
  {
    name: 'rejected-events',
    reason:
      'Synapse lets no event into a resolved state that it has rejected before; by the spec those ' +
      'that failed against the state at the event take part as usual.',
    explainsRoom: ({ room }) =>
      room.states.some((state) => [...state.values()].some((id) => room.graph.rejected.has(id))),
  },
  {
    name: 'power-levels-with-a-state-key',
    reason:
      'Synapse compares m.room.power_levels with the state of the same state key; by the rule they ' +
      'are compared with the power levels of the room.',
    explainsCase: ({ event }, { synapse }) => isOtherPowerLevels(event) && synapse === 'allow',
    explainsRoom: (_, differing) => differing.every(isOtherPowerLevels),
  },
  {
    name: 'authoriser-of-other-memberships',
    reason:
      'Synapse wants the signature for join_authorised_via_users_server only if the membership is ' +
      'join; the rule wants it whenever the key is there.',
    explainsCase: ({ event }, { ours, synapse }) =>
      event.content['membership'] !== 'join' &&
      ours === 'reject: The server that authorises the join has not signed it' &&
      synapse === 'allow',
  },
  {
    name: 'server-names-in-power-levels',
    reason:
      'Synapse takes any text with an @ and a colon for a user ID in users, also without a server.',
    explainsCase: ({ event }, { ours, synapse }) =>
      event.type === 'm.room.power_levels' &&
      ours === 'reject: users is not an object of user IDs' &&
      synapse === 'allow',
  },
  {
    name: 'boolean-levels',
    reason: 'Before version 10, Synapse reads true as the level 1: in Python it is an integer.',
    explainsCase: ({ event, state, known }, { synapse }) =>
      !event.version.integerPowerLevels &&
      (synapse === 'allow' || synapse.startsWith('reject')) &&
      [event, ...powerLevelsOf(state, known)].some(hasBooleanLevel),
  },
  {
    name: 'redaction-of-nothing',
    reason: 'In versions 1 and 2 Synapse lets anybody redact an event that is not named.',
    explainsCase: ({ event }, { synapse }) =>
      event.version.redactionsAreAuthorized &&
      event.type === 'm.room.redaction' &&
      event.redacts === undefined &&
      synapse === 'allow',
  },
  {
    name: 'power-levels-that-are-no-state',
    reason: 'Synapse fails on m.room.power_levels without a state key, on which no rule turns.',
    explainsCase: ({ event }, difference) =>
      event.type === 'm.room.power_levels' &&
      event.stateKey === undefined &&
      allowedHere(difference) &&
      refusedThere(difference, 'crash: AttributeError: state_key'),
  },
  {
    name: 'malformed-power-levels',
    reason:
      'Before version 10 events and notifications may be anything, and other levels too, by the rules; ' +
      'Synapse fails when it reads what is not an object or not a number, also where no rule asks for it.',
    explainsCase: ({ event, state, known }, difference) =>
      !event.version.integerPowerLevels &&
      allowedHere(difference) &&
      /crash: (?:TypeError|ValueError|AttributeError|OverflowError)/.test(difference.synapse) &&
      [event, ...powerLevelsOf(state, known)].some(isMalformed),
  },
]

function isOfOtherServer(event: RoomEvent, create: RoomEvent): boolean {
  if (event.type !== 'm.room.member' || event.stateKey === undefined) return false
  return domainOf(event.stateKey) !== domainOf(create.sender)
}

const isOtherPowerLevels = ({ type, stateKey }: RoomEvent): boolean =>
  type === 'm.room.power_levels' && stateKey !== undefined && stateKey !== ''

function powerLevelsOf(state: EventCase['state'], known: EventCase['known']): readonly RoomEvent[] {
  return [...state.values()]
    .flatMap((id) => known.get(id) ?? [])
    .filter(({ type }) => type === 'm.room.power_levels')
}

/** The values of all levels that an event names. */
function levelsOf({ type, content }: RoomEvent): Json[] {
  if (type !== 'm.room.power_levels') return []
  return Object.values(content).flatMap((value) => (isObject(value) ? Object.values(value) : value))
}

const hasBooleanLevel = (event: RoomEvent) =>
  levelsOf(event).some((value) => typeof value === 'boolean')

function isMalformed(event: RoomEvent): boolean {
  const { events, notifications } = event.content
  const maps = [events, notifications].filter((map) => map !== undefined)
  return (
    maps.some((map) => !isObject(map)) ||
    levelsOf(event).some((value) => Number.isNaN(levelOf(value, event.version)))
  )
}

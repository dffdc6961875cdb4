import { authorize } from '#core/auth/authorize.ts'
import { membershipOf } from '#core/content/m.room.member.ts'
import { type AuthSubject, authEventKeys, type StateLookup } from '#core/event/auth-events.ts'
import { referenceHash } from '#core/event/hash.ts'
import type { RoomEvent } from '#core/event/pdu.ts'
import type { StateMap } from '#store/room/state-map.ts'
import { keysAsked, numbersFor } from '#engine/room/numbers.ts'
import type { Parts } from '#engine/room/parts.ts'
import type { Room } from '#engine/room/room.ts'
import type { Task } from '#engine/room/task.ts'

/**
 * What gives a user's messages their right to be, in one state: worked out once for all that they say,
 * since nothing but their type makes a difference.
 */
export class Rights {
  readonly isJoined: boolean
  readonly authIds: readonly string[]
  readonly authNids: readonly number[]
  readonly auths: readonly RoomEvent[]
  readonly #lookup: StateLookup
  readonly #refusals = new Map<string, string | undefined>()

  constructor(
    lookup: StateLookup,
    sender: string,
    auths: readonly { event: RoomEvent; nid: number }[],
  ) {
    this.#lookup = lookup
    this.isJoined = membershipOf(lookup('m.room.member', sender)?.content) === 'join'
    this.auths = auths.map(({ event }) => event)
    this.authIds = auths.map(({ event }) => event.eventId)
    this.authNids = auths.map(({ nid }) => nid)
  }

  /** Why an event of theirs is not allowed; undefined if it is. */
  refusal(event: RoomEvent): string | undefined {
    const { type } = event
    if (this.#refusals.has(type)) return this.#refusals.get(type)
    const verdict = authorize(event, this.#lookup, () => true)
    const refusal = verdict.allowed ? undefined : verdict.reason
    this.#refusals.set(type, refusal)
    return refusal
  }
}

/** What users may say in a state of a room: all looked up at once. */
export function* rightsOf(
  parts: Parts,
  room: Room,
  state: StateMap,
  users: readonly string[],
): Task<Map<string, Rights>> {
  const subjects = users.map((sender) => speaking(room, sender))
  const numbers = yield* numbersFor(parts.interner, subjects)
  const nids = subjects
    .flatMap(keysAsked)
    .flatMap(([type, key]) => state.get(numbers.stateKey(type, key)) ?? [])
  const events = yield* parts.events.byNids(room, [...new Set(nids)])
  const rights = new Map<string, Rights>()
  for (const [index, subject] of subjects.entries()) {
    const found = new Map<string, { event: RoomEvent; nid: number }>()
    for (const [type, key] of keysAsked(subject)) {
      const nid = state.get(numbers.stateKey(type, key))
      const event = nid === undefined ? undefined : events.get(nid)?.event
      if (event) found.set(placeOf(type, key), { event, nid: nid! })
    }
    const auths = authEventKeys(subject).flatMap(
      ([type, key]) => found.get(placeOf(type, key)) ?? [],
    )
    const lookup: StateLookup = (type, key) => found.get(placeOf(type, key))?.event
    rights.set(subject.sender, new Rights(lookup, subject.sender, auths))
    if (index % perStep === perStep - 1) yield
  }
  return rights
}

/** Users looked at in one go. */
const perStep = 50

const placeOf = (type: string, key: string) => `${type}\0${key}`

const speaking = ({ version }: Room, sender: string): AuthSubject => ({
  version,
  type: 'm.room.message',
  stateKey: undefined,
  sender,
  content: {},
})

/** v1–v2: the hashes that an event has to say of those that it cites. */
export function hashesOf(events: readonly RoomEvent[]): Map<string, string> {
  const hashes = new Map<string, string>()
  for (const { version, pdu, eventId } of events)
    hashes.set(eventId, referenceHash(version, pdu) ?? '')
  return hashes
}

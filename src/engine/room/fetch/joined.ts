import { authorize, checkAuthEvents } from '#core/auth/authorize.ts'
import { roomVersionIdOf } from '#core/content/m.room.create.ts'
import { authorisingUserOf, membershipOf } from '#core/content/m.room.member.ts'
import { canonicalEvent } from '#core/event/hash.ts'
import type { RoomEvent } from '#core/event/pdu.ts'
import { domainOf, isServerName } from '#core/ids.ts'
import { malformedAnswer } from '#engine/federation/answer.ts'
import type { Joined } from '#engine/federation/remote-membership.ts'
import { chainOnly, checkMany } from '#engine/room/fetch/check-events.ts'
import { withSignatureOf } from '#engine/room/fetch/countersign.ts'
import type { CheckedEvents, JoinedRoom, RemoteJoin } from '#engine/room/fetch/fetching.ts'
import { Pace } from '#engine/room/fetch/pace.ts'

/**
 * Not spec: how long a join waits for the keys of servers that do not answer. What they signed of the
 * state is lost to us for good: their users are not in the room as we know it, and say nothing in it.
 */
const keyPatienceMs = 20_000

/** What a server answered to a signed join. */
export type JoinAnswer = Readonly<{ server: string; event: RoomEvent; answer: Joined }>

/**
 * Checks what came with a join: the room it describes is the one that was asked for, and its rules let
 * the user in. A `RemoteError` says what is wrong.
 *
 * Spec: server-server-api/#put_matrixfederationv2send_joinroomideventid
 */
export async function checkJoined(
  fetching: RemoteJoin,
  { server, event, answer }: JoinAnswer,
): Promise<JoinedRoom> {
  // It was not asked for, and without members nothing can be judged.
  if (answer.membersOmitted) throw malformedAnswer(server, 'leaves out members')
  const join = await countersigned(fetching, server, event, answer)
  const jsons = [...answer.state, ...answer.authChain]
  const all = await checkMany(event.version, jsons, {
    ...fetching,
    anyListLength: true,
    keyPatienceMs,
  })
  const pace = new Pace()
  const stateIds = new Set(all.ids.slice(0, answer.state.length).filter((id) => id !== undefined))
  const checked = await chainOnly(all, [...stateIds, ...join.authEvents])
  const state = new StateMap(server)
  for (const { event: each } of checked.accepted) {
    if (pace.due) await pace.rest()
    if (stateIds.has(each.eventId)) state.add(each)
  }
  const create = requireCreate(server, event, state)
  requireLetIn(server, join, state, checked)
  const servers = new Set([server, ...answer.serversInRoom])
  for (const each of state.events) {
    if (pace.due) await pace.rest()
    const name = serverOfJoined(each)
    if (name !== undefined && !servers.has(name) && isServerName(name)) servers.add(name)
  }
  return {
    version: event.version,
    join,
    json: canonicalEvent(event.version, join.pdu)!,
    create,
    state: [...state.events],
    authChain: checked.accepted.map((each) => each.event),
    rejected: checked.rejected,
    servers: [...servers],
    server,
  }
}

/** A restricted join counts with the signature of the server whose user lets it in. */
async function countersigned(
  fetching: RemoteJoin,
  server: string,
  event: RoomEvent,
  { event: returned }: Joined,
): Promise<RoomEvent> {
  const authoriser = event.version.restrictedJoins ? authorisingUserOf(event.content) : undefined
  if (authoriser === undefined) return event
  if (!returned) throw malformedAnswer(server, 'lacks the join that it should have signed')
  return withSignatureOf(fetching, { server, event, returned, signer: domainOf(authoriser)! })
}

/** The state before the join, by type and state key. */
class StateMap {
  readonly #server: string
  readonly #byKey = new Map<string, RoomEvent>()

  constructor(server: string) {
    this.#server = server
  }

  add(event: RoomEvent): void {
    const { type, stateKey } = event
    if (stateKey === undefined)
      throw malformedAnswer(this.#server, `has ${event.eventId} as state, which is none`)
    // No type and no state key holds a NUL.
    const key = `${type}\0${stateKey}`
    if (this.#byKey.has(key))
      throw malformedAnswer(this.#server, `has two events as the state ${type}, ${stateKey}`)
    this.#byKey.set(key, event)
  }

  readonly get = (type: string, stateKey: string): RoomEvent | undefined =>
    this.#byKey.get(`${type}\0${stateKey}`)

  get events(): Iterable<RoomEvent> {
    return this.#byKey.values()
  }
}

const serverOfJoined = ({ type, stateKey, content }: RoomEvent): string | undefined =>
  type === 'm.room.member' && membershipOf(content) === 'join' ? domainOf(stateKey!) : undefined

function requireCreate(server: string, join: RoomEvent, state: StateMap): RoomEvent {
  const create = state.get('m.room.create', '')
  if (!create) throw malformedAnswer(server, 'has a state without a good create event')
  if (roomVersionIdOf(create.content) !== join.version.id)
    throw malformedAnswer(server, 'describes a room of another version than its template')
  return create
}

/** The join must be good by the events that it cites and by the state before it. */
function requireLetIn(
  server: string,
  join: RoomEvent,
  state: StateMap,
  { accepted, rejected }: CheckedEvents,
): void {
  const wanted = new Set([...join.authEvents, state.get('m.room.create', '')!.eventId])
  const cited = new Map<string, RoomEvent>()
  for (const { event } of [...accepted, ...rejected])
    if (wanted.has(event.eventId)) cited.set(event.eventId, event)
  const isRejected = (id: string) => rejected.some(({ event }) => event.eventId === id)
  // That it is signed by the server that lets it in was checked before.
  const signedBy = () => true
  const byCited = checkAuthEvents(join, (id) => cited.get(id), isRejected)
  if (!byCited.allowed)
    throw malformedAnswer(server, `does not let you in by its template: ${byCited.reason}`)
  const byState = authorize(join, state.get, signedBy)
  if (!byState.allowed)
    throw malformedAnswer(server, `has a state that does not let you in: ${byState.reason}`)
}

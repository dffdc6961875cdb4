import { membershipOf } from '#core/content/m.room.member.ts'
import { domainOf } from '#core/ids.ts'
import type { MemberChange, StateChange } from '#store/room/batch.ts'
import type { Interned } from '#store/room/intern.ts'
import type { ServerSet } from '#store/room/server-sets.ts'
import type { StateMap } from '#store/room/state-map.ts'
import { memberOf } from '#engine/room/numbers.ts'
import type { Parts } from '#engine/room/parts.ts'
import type { JoinedServer, Known, Room } from '#engine/room/room.ts'
import { type Task, wait } from '#engine/room/task.ts'

/** Lines of the delta log that lack their position, and what they do to the servers of the room. */
export type Changes = {
  readonly state: readonly StateChange[]
  /** By how much each server's joined members change. */
  readonly servers: ReadonlyMap<number, { name: string; by: number }>
  /** Servers of users whose invite or knock the event itself ends, without their doing. */
  readonly turnedAway: ReadonlyMap<number, string>
}

/** What nearly every event changes. */
const unchanged: Changes = { state: [], servers: new Map(), turnedAway: new Map() }

/** A resolution may change thousands of places: so many are gone through at once. */
const perStep = 500

/** Every difference between the room's state and what it becomes, with what readers ask of it. */
export function* changesTo(
  parts: Parts,
  room: Room,
  to: StateMap,
  own: Known,
  numbers: Interned,
): Task<Changes> {
  if (to === room.state) return unchanged
  const state: StateChange[] = []
  const servers: ServerChanges = new Map()
  const turnedAway = new Map<number, string>()
  const diff = room.state.diff(to)
  const events = new Map<number, Known>([[own.nid, own]])
  for (let from = 0; from < diff.length; from += perStep) {
    const nids: number[] = []
    for (const { old, new: now } of diff.slice(from, from + perStep))
      for (const nid of [old, now]) if (nid !== undefined && !events.has(nid)) nids.push(nid)
    for (const [nid, known] of yield* parts.events.byNids(room, nids)) events.set(nid, known)
    if (from > 0) yield
  }
  const users = yield* memberNumbers(
    parts,
    diff.flatMap(({ old, new: now }) => [old, now]),
    events,
    own,
    numbers,
  )
  for (const [index, change] of diff.entries()) {
    if (index > 0 && index % perStep === 0) yield
    const old = change.old === undefined ? undefined : events.get(change.old)
    const now = change.new === undefined ? undefined : events.get(change.new)
    const member = memberChange(old, now, users, servers)
    if (member && now === own && isTurnedAway(own, member))
      turnedAway.set(member.serverNid, domainOf(own.event.stateKey!)!)
    state.push({
      position: 1,
      typeNid: (now ?? old)!.typeNid,
      stateKeyNid: change.key,
      oldEventNid: change.old ?? null,
      newEventNid: change.new ?? null,
      member,
    })
  }
  for (const [nid, { by }] of servers) if (by === 0) servers.delete(nid)
  return { state, servers, turnedAway }
}

type ServerChanges = Map<number, { name: string; by: number }>
type UserNumbers = (userId: string) => { userNid: number; serverNid: number }

function* memberNumbers(
  parts: Parts,
  nids: readonly (number | undefined)[],
  events: ReadonlyMap<number, Known>,
  own: Known,
  numbers: Interned,
): Task<UserNumbers> {
  const others = new Set<string>()
  const ownUser = memberOf(own.event)
  for (const nid of nids) {
    const user = nid === undefined ? undefined : memberOf(events.get(nid)!.event)
    if (user !== undefined && user !== ownUser) others.add(user)
  }
  const found = new Map<string, { userNid: number; serverNid: number }>()
  const take = (interned: Interned, users: readonly string[]) => {
    for (const user of users) {
      const serverNid = interned.server(domainOf(user)!)
      found.set(user, { userNid: interned.user(user), serverNid })
    }
  }
  if (ownUser !== undefined) take(numbers, [ownUser])
  const list = [...others]
  for (let from = 0; from < list.length; from += perStep) {
    const users = list.slice(from, from + perStep)
    const servers = new Set(users.map((user) => domainOf(user)!))
    take(yield* wait(parts.interner.intern({ users, servers })), users)
  }
  return (user) => found.get(user)!
}

function memberChange(
  old: Known | undefined,
  now: Known | undefined,
  users: UserNumbers,
  servers: ServerChanges,
): MemberChange | null {
  const user = memberOf((now ?? old)!.event)
  if (user === undefined) return null
  const before = membershipOf(old?.event.content) ?? null
  const after = membershipOf(now?.event.content) ?? null
  const { userNid, serverNid } = users(user)
  const by = Number(after === 'join') - Number(before === 'join')
  if (by !== 0) {
    const name = domainOf(user)!
    servers.set(serverNid, { name, by: (servers.get(serverNid)?.by ?? 0) + by })
  }
  return { userNid, serverNid, senderNid: (now ?? old)!.senderNid, old: before, new: after }
}

const isTurnedAway = ({ event }: Known, { old, new: now }: MemberChange): boolean =>
  (old === 'invite' || old === 'knock') &&
  (now === 'leave' || now === 'ban') &&
  domainOf(event.sender) !== domainOf(event.stateKey!)

/**
 * The servers that an event goes to: joined before or after it, without our own. One that is in the
 * room only by an invite, or asks to be let in, learns that it is not from the event itself.
 */
export function* destinations(
  parts: Parts,
  room: Room,
  { servers, turnedAway }: Changes,
): Task<number | null> {
  const own = parts.signing.serverName
  const joined = (map: ReadonlyMap<number, JoinedServer>) =>
    [...map].filter(([, { name, joined: count }]) => count > 0 && name !== own).map(([nid]) => nid)
  let set: ServerSet | undefined = room.serverSet
  if (!set) {
    const { revision } = room
    set = yield* wait(parts.serverSets.intern(joined(room.servers)))
    // If the room has moved on, others may be in it now; then this event is decided again as well.
    if (room.revision === revision) room.serverSet = set
  }
  const { servers: here } = set
  const added = [...servers].filter(
    ([nid, { name, by }]) => by > 0 && name !== own && !here.has(nid),
  )
  const more = added.map(([nid]) => nid)
  for (const [nid, name] of turnedAway) if (name !== own && !here.has(nid)) more.push(nid)
  if (more.length > 0) set = yield* wait(parts.serverSets.intern([...set.servers, ...more], set))
  return set.servers.size === 0 ? null : set.nid
}

/** Counts who came and went; the set of joined servers is made anew when it is next asked for. */
export function countServers(room: Room, { servers }: Changes): void {
  for (const [nid, { name, by }] of servers) {
    const before = room.servers.get(nid)?.joined ?? 0
    const joined = before + by
    if (joined > 0) room.servers.set(nid, { name, joined })
    else room.servers.delete(nid)
    if (joined > 0 !== before > 0) room.serverSet = undefined
  }
}

import type { RoomEvent } from '#core/event/pdu.ts'
import type { RoomVersion } from '#core/room-version.ts'
import { ServerAcl } from '#core/server-acl.ts'
import type { StateMap } from '#store/room/state-map.ts'
import type { RoomKind } from '#store/room/batch.ts'
import type { ServerSet } from '#store/room/server-sets.ts'
import type { AuthChains } from '#engine/room/decide/auth-chains.ts'
import { Holds } from '#engine/room/hold.ts'
import type { Parts } from '#engine/room/parts.ts'
import { Resolutions } from '#engine/room/decide/resolutions.ts'
import type { SeenPolicy } from '#engine/room/policy/policy.ts'
import type { Snapshot } from '#store/room/snapshots.ts'
import { SpanList } from '#store/room/span-list.ts'
import { eventFlags } from '#store/room/batch.ts'

/** An event of a room in memory, with its numbers. */
export type Known = {
  readonly nid: number
  readonly event: RoomEvent
  readonly typeNid: number
  readonly stateKeyNid: number | null
  readonly senderNid: number
  readonly authNids: readonly number[]
  /** What it weighs in memory. */
  readonly bytes: number
  flags: number
  /** The snapshot of the state before it; null if that is not known. */
  snapshotNid: number | null
  /** Its place in the reading order, if it has one. */
  chain: number | null
  chainIndex: number | null
  /** Its number among the auth chains of the room, if all of its own is known. */
  authOrder: number | null
}

export const isRejected = ({ flags }: Pick<Known, 'flags'>): boolean =>
  (flags & eventFlags.rejected) !== 0
export const isOutlier = ({ flags }: Pick<Known, 'flags'>): boolean =>
  (flags & eventFlags.outlier) !== 0

/** An event that nobody cites yet, and the state after it. */
export type Extremity = { known: Known; after: StateMap }

export type JoinedServer = { name: string; joined: number }

export type RoomFacts = {
  roomId: string
  nid: number
  shard: number
  version: RoomVersion
  kind: RoomKind
  generation: number
  create?: RoomEvent
  extremities: Map<number, Extremity>
  state: StateMap
  /** The chain to which live events are appended, and the next index in it. */
  chain: number
  nextIndex: number
  /** Where that chain stands in the reading order. */
  orderKey: Uint8Array
  auth: AuthChains
  servers: Map<number, JoinedServer>
  /** Cited and not here, with the events that cite them. */
  missing: Map<string, number[]>
}

/**
 * A room as its lane knows it: ahead of the database by what is decided and not yet committed. If a
 * commit fails it is thrown away and loaded again.
 */
export class Room {
  readonly roomId: string
  readonly nid: number
  readonly shard: number
  /** From outside it is what another server said. */
  version: RoomVersion
  /** Its create event; a room that is known by an invite may lack it. */
  create: RoomEvent | undefined
  readonly auth: AuthChains
  orderKey: Uint8Array
  kind: RoomKind
  generation: number
  extremities: Map<number, Extremity>
  state: StateMap
  chain: number
  nextIndex: number
  readonly servers: Map<number, JoinedServer>
  readonly missing: Map<string, number[]>
  /** Its reading order, as far as it was needed. */
  readonly spans = new SpanList()
  /** Redactions whose target is not here, by its ID. */
  readonly redactions = new Map<string, number[]>()
  /** Counts what was decided: whoever worked out something from the room looks whether it moved. */
  revision = 0
  /** Thrown away: what is being decided on it must be decided again. */
  stale = false
  /** The resolutions of its states that are under way. */
  readonly resolving = new Set<{ readonly since: number }>()
  /** Who is kept out of it for a while. */
  readonly holds = new Holds()
  /** Decided and not committed, by ID: no look-up finds them. */
  readonly uncommitted = new Map<string, Known>()
  /** Snapshots likewise, by number. */
  readonly unsaved = new Map<number, Snapshot>()
  /** The newest snapshot: the next is made on top of it. */
  lastSnapshot: Snapshot | undefined
  /** The `m.room.policy` event that was last asked for, and those of which a redaction came since. */
  policy: SeenPolicy | undefined
  readonly redactedPolicies = new Set<string>()
  /** What its forks were last resolved to. */
  readonly resolutions = new Resolutions()
  /** The set of joined servers as it was last interned. */
  serverSet: ServerSet | undefined
  #acl: { eventNid: number; acl: ServerAcl } | undefined

  constructor(facts: RoomFacts) {
    this.roomId = facts.roomId
    this.nid = facts.nid
    this.shard = facts.shard
    this.version = facts.version
    this.kind = facts.kind
    this.generation = facts.generation
    this.create = facts.create
    this.auth = facts.auth
    this.orderKey = facts.orderKey
    this.extremities = facts.extremities
    this.state = facts.state
    this.chain = facts.chain
    this.nextIndex = facts.nextIndex
    this.servers = facts.servers
    this.missing = facts.missing
  }

  /** An event is in the database now. */
  committed(known: Known): void {
    this.uncommitted.delete(known.event.eventId)
    if (known.snapshotNid !== null) this.unsaved.delete(known.snapshotNid)
  }

  /** Whether a server may take part, by the `m.room.server_acl` event that is given, if there is one. */
  allows(server: string, acl: Known | undefined): boolean {
    if (!acl) return true
    if (this.#acl?.eventNid !== acl.nid)
      this.#acl = { eventNid: acl.nid, acl: new ServerAcl(acl.event.content) }
    return this.#acl.acl.allows(server)
  }

  /** Roughly what it holds in memory, in bytes. */
  get bytes(): number {
    const states = new Set([
      this.state,
      ...[...this.extremities.values()].map(({ after }) => after),
    ])
    let bytes =
      2_000 +
      this.auth.bytes +
      this.resolutions.bytes +
      100 * (this.servers.size + this.missing.size + this.redactions.size)
    for (const state of states) bytes += 16 * state.size
    return bytes
  }
}

/** Takes what a room has in memory and not in the database out of the caches. */
export function forget({ events, states }: Pick<Parts, 'events' | 'states'>, room: Room): void {
  room.stale = true
  for (const known of room.uncommitted.values()) events.forget(known)
  states.forget(room)
}

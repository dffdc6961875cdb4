import type { Signing } from '#core/event/build.ts'
import type { RoomEvent } from '#core/event/pdu.ts'
import type { JsonObject } from '#core/json.ts'
import type { RoomVersion } from '#core/room-version.ts'
import type { KeyLookup } from '#core/server-keys.ts'
import type { Federation } from '#engine/worker/protocol.ts'

/** What is kept of an event that we have. */
export type KnownEvent = Readonly<{ event: RoomEvent; rejected: boolean }>

/** What we have, asked for in lists. IDs that we do not have are left out of the answer. */
export type KnownEvents = Readonly<{
  /** For each that we have, whether it was rejected. */
  standing: (eventIds: readonly string[]) => Promise<ReadonlyMap<string, 'accepted' | 'rejected'>>
  get: (eventIds: readonly string[]) => Promise<ReadonlyMap<string, KnownEvent>>
}>

/** What everything here needs that asks other servers. */
export type Fetching = Readonly<{
  federation: Federation
  now: () => number
  /** How long all of it may take, in milliseconds. */
  deadlineMs: number
  /** Keys that are at hand; the others are asked for, all at once. */
  keys?: KeyLookup
  /** Without it nothing is known: so it is when a room is joined. */
  known?: KnownEvents
}>

/** An event whose format, signatures and hash were checked. */
export type CheckedEvent = Readonly<{
  event: RoomEvent
  /** The content hash did not match: the event is the redacted copy. */
  redacted: boolean
}>
export type RejectedEvent = CheckedEvent & Readonly<{ reason: string }>
/** The ID is undefined where the format does not allow to tell it. */
export type DroppedEvent = Readonly<{ eventId: string | undefined; reason: string }>

/** Events that were judged by the events they cite. */
export type CheckedEvents = Readonly<{
  /** The IDs of what was given, in that order; undefined for what is no event. */
  ids: (string | undefined)[]
  /** Auth events before what cites them; each once; without those that were known. */
  accepted: CheckedEvent[]
  /** To be kept as rejected: whoever cites one is rejected too. In the same order. */
  rejected: RejectedEvent[]
  /** To be forgotten: with other keys, or with events that were lacking, they may be good one day. */
  dropped: DroppedEvent[]
  /** Auth events that neither were given nor are known. */
  lacking: string[]
}>

/** What a join of a local user through other servers needs. */
export type RemoteJoin = Fetching &
  Readonly<{
    roomId: string
    userId: string
    /** Member content beside `membership`. */
    content: JsonObject
    /** Servers to ask, best first. */
    via: readonly string[]
    /** The room versions offered; all that we know, unless some are named. */
    versions?: readonly string[]
    signing: Signing
    /** Makes the signed join durable; send_join comes after it. May be called again with a later one. */
    onSigned: (signed: SignedJoin) => Promise<void>
  }>

export type SignedJoin = Readonly<{
  version: string
  /** JSON text. */
  event: string
  /** The server that made the template, then the others to try. */
  via: readonly string[]
}>

export type JoinedRoom = Readonly<{
  version: RoomVersion
  /** The join as it counts: with the signature of the server that let a restricted join in. */
  join: RoomEvent
  /** Its JSON text. */
  json: string
  create: RoomEvent
  /** The room's state before the join. */
  state: RoomEvent[]
  /** All accepted events, those of the state too: auth events before what cites them, each once. */
  authChain: RoomEvent[]
  rejected: RejectedEvent[]
  /** Servers in the room, if the other server said so; at least those of joined members. */
  servers: string[]
  /** The server that let us in. */
  server: string
}>

/** State before an event: what of it is new, and which of all make up the state. */
export type FetchedState = Readonly<{
  /** Who said what the state is. */
  server: string
  /**
   * Known or accepted events. That one of them is the create event, and no two have one type and
   * state key, is left to whoever loads the known ones.
   */
  stateIds: string[]
  /** All that is new: state and auth chain. */
  events: CheckedEvents
  /** IDs of the state that could not be had, or were refused. */
  lost: string[]
}>

/** Ancestors of events. */
export type FetchedEvents = Readonly<{
  /** prev_events before what follows them; signatures and hashes are checked, nothing else. */
  events: CheckedEvent[]
  /** Those that an auth rule rejects for a signature that is not there. */
  rejected: RejectedEvent[]
  dropped: DroppedEvent[]
  /** prev_events of them that neither came nor are known. */
  lacking: string[]
}>

/** A page of history. */
export type FetchedHistory = FetchedEvents &
  Readonly<{
    server: string
    /** The state before each event that follows one that neither came nor is known. */
    states: ReadonlyMap<string, FetchedState>
    /** Auth events that are new and neither of the page nor of its states. */
    auth: CheckedEvents
  }>

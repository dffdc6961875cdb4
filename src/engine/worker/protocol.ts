import type { ImportStep } from '#engine/worker/import-steps.ts'
import type { LanesReport, LanesWanted } from '#engine/worker/lane-report.ts'
import type { Sample } from '#engine/worker/measured.ts'
import type { LogOptions } from '#src/log.ts'

/**
 * Everything that may be said between threads. Adding a call is adding a line here; both ends then
 * fail to compile until they handle it.
 *
 * Events cross as JSON text inside the envelope, never as msgpack maps: msgpackr renames a
 * `__proto__` key, which would change an event's hash, and text is several times cheaper.
 */

/** A `(device, path, txnId)` that makes a retried send answer with the event of the first one. */
export type LocalTxn = { userId: string; deviceId: string; path: string; txnId: string }

/** An event that a local user wants in a room. Content is JSON text. */
export type LocalEvent = {
  sender: string
  type: string
  stateKey?: string
  content: string
  redacts?: string
  txn?: LocalTxn
  /** An application service may set `origin_server_ts`. */
  timestamp?: number
}

/** Where an event landed: its ID, and the position at which readers find it. */
export type Landed = { eventId: string; shard: number; position: number }

export type CreateRoom = {
  creator: string
  version: string
  /** The signed create event, JSON text: it decides the room ID in v12+, so the caller builds it. */
  createEvent: string
  /** The events after it, in the spec's order, of the creator unless an entry says otherwise. */
  events: LocalEvent[]
}

/** One inbound PDU, already durable in the inbox. `json` is absent when the worker has to read it back. */
export type InboxEntry = {
  inboxId: number
  origin: string
  roomId: string
  json?: string
  checked?: CheckedPdu
}

/** What the intake found out of a PDU whose format and hash are good, by the rules of a room version. */
export type CheckedPdu = {
  version: string
  eventId: string
  /** What the signatures cover: they are left to the lane. */
  signed: string
}

export type JoinRoom = {
  userId: string
  /** Member content beside `membership`, as JSON text: displayname, avatar_url, reason. */
  content: string
  /** Servers to join through if we are not in the room, best first. */
  via: string[]
  /** As in `LocalEvent`, where the join is made here. */
  timestamp?: number
}

export type MembershipChange = {
  sender: string
  target: string
  membership: 'invite' | 'leave' | 'ban' | 'knock'
  /** Further member content as JSON text. */
  content: string
  /** As in `LocalEvent`, where the event is made here. */
  timestamp?: number
}

/** MSC2716: a batch of history that an application service puts into a room. */
export type BatchWish = {
  /** The user that the batch's own events are of. */
  sender: string
  /** Behind these it goes. */
  prevEventIds: string[]
  /** What the insertion event offers that it hangs on; left out, it gets one of its own. */
  batchId?: string
  /** JSON texts of lists, as they came. */
  stateAtStart: string
  events: string
  /** A hash of the whole request, in hex: one that comes again is answered as the first one was. */
  request: string
}

export type BatchSent = {
  stateEventIds: string[]
  eventIds: string[]
  nextBatchId: string
  insertionEventId: string
  batchEventId: string
  baseInsertionEventId?: string
}

export type RoomCalls = {
  /** Builds, decides and commits one event of a local user. */
  send: (roomId: string, event: LocalEvent) => Landed
  create: (roomId: string, request: CreateRoom) => Landed
  /** Puts a batch of history into a room. */
  batchSend: (roomId: string, batch: BatchWish) => BatchSent
  /** Joins a local user: at once if we are in the room and the rules allow it, else through `via`. */
  join: (roomId: string, request: JoinRoom) => Landed
  /** Knocks for a local user: here if we are in the room, else through `via`. */
  knock: (roomId: string, request: JoinRoom) => Landed
  /** Invite (to remote users too), kick, ban, unban, leave; rejecting a remote invite goes out as make/send_leave. */
  changeMembership: (roomId: string, request: MembershipChange) => Landed

  /** Takes what the intake made durable; answered when it is in the lanes' memory or left in the inbox. */
  receive: (roomId: string, entries: InboxEntry[]) => null
  /** For another server: a template to sign. */
  makeJoin: (
    roomId: string,
    userId: string,
    versions: string[],
    origin: string,
  ) => { version: string; event: string }
  makeLeave: (roomId: string, userId: string, origin: string) => { version: string; event: string }
  makeKnock: (
    roomId: string,
    userId: string,
    versions: string[],
    origin: string,
  ) => { version: string; event: string }
  /** Accepts another server's signed knock; `state` is what its user is shown of the room, JSON texts. */
  sendKnock: (roomId: string, origin: string, pdu: string) => Landed & { state: string[] }
  /** Accepts another server's signed join; `event` is what the joiner must use, state is read at `eventId`. */
  sendJoin: (roomId: string, origin: string, pdu: string) => Landed & { event: string }
  sendLeave: (roomId: string, origin: string, pdu: string) => Landed
  /** Stores an invite for a local user; `pdu` is already checked and signed by us. `state` are PDUs or stripped events. */
  receiveInvite: (roomId: string, version: string, pdu: string, state: string[]) => Landed

  /** Fetches history before the oldest events known and commits it; the number of events gained. */
  backfill: (roomId: string, beforeEventIds: string[], limit: number) => number

  /**
   * Takes a room away, unless users of ours are in it; `force`: even so. From then on it is unknown. The
   * numbers under which rows of it are left, which nobody finds any more.
   */
  removeRoom: (roomId: string, force: boolean) => number[]
  /** Drops some of these rows; the next step, null if none are left. */
  dropRemains: (roomId: string, roomNid: number, step: RemainsStep) => RemainsStep | null

  /** Takes a step of an import into a room; its answer, as JSON. */
  importHistory: (roomId: string, step: ImportStep) => string
}

/** How far the rows of a removed room have been dropped; it may begin anew. */
export type RemainsStep = { phase: 'events'; after: number } | { phase: 'rest' }

/** One request to another server. The federation worker resolves, signs, bounds and times it. */
export type OutgoingRequest = {
  destination: string
  method: 'GET' | 'PUT' | 'POST'
  /** Path and query exactly as sent and signed. */
  uri: string
  /** JSON text. */
  body?: string
  deadlineMs: number
  maxBytes: number
  /** `/key/v2/server` and `/version` are asked without X-Matrix. */
  unsigned?: boolean
  /** Asks even if the destination is backing off: a user waits for it. */
  ignoreBackoff?: boolean
}

export type OutgoingAnswer = { status: number; body: string }

export type WantedKey = { server: string; keyIds: string[]; minimumValidUntilTs: number }
export type KnownKey = {
  server: string
  keyId: string
  /** Unpadded base64. */
  key: string
  validUntilTs: number
  /** Set for an old key: good for events up to this time, never for requests. */
  expiredTs?: number
}

export type FederationCalls = {
  request: (request: OutgoingRequest) => OutgoingAnswer
  /** What is known or can be had of these keys before the deadline; keys that cannot be had are left out. */
  keys: (wanted: WantedKey[], deadlineMs: number) => KnownKey[]
  /** The key documents of servers as they signed them, JSON text, for a notary to sign in turn. */
  keyDocuments: (wanted: WantedKey[], deadlineMs: number) => string[]
}

/** What a room worker needs to begin with. */
export type RoomWorkerStart = {
  /** How the log calls it. */
  name: string
  databaseUrl: string
  connections: number
  /** Milliseconds that statements wait for a database that went away; they do not, if left out. */
  waitMs?: number
  log: LogOptions
  /** Written into the leases of its shards. */
  owner: string
  shards: number[]
  serverName: string
  /** `ed25519:…`, and the seed in unpadded base64. */
  signingKey: { keyId: string; seed: string }
  /** MSC2716: whether history is taken that other servers put into rooms. */
  history?: boolean
  /** Entries of `engine/room/limits.ts` that the operator changed. */
  limits: { [name: string]: number }
}

/** What the pool says to a worker beside the calls of rooms. */
export type RoomWorkerCalls = RoomCalls & {
  /** The first call: takes the shards, and resumes what waits in their inboxes. */
  start: (start: RoomWorkerStart) => null
  /** The last: takes nothing more, commits what is decided. */
  stop: () => null
  /** Counters and gauges, by name. */
  counters: () => { [name: string]: number }
  /** What it has measured. */
  measure: () => Sample[]
  /** Its longest lanes, and what they wait for. */
  lanes: (wanted: LanesWanted) => LanesReport
}

/** What is said without an answer. A lost signal costs latency, never data. */
export type Signal =
  /** Each pair: this room shard is committed up to this position; `sends` is false if nothing of it is for us to send. */
  | { s: 'rooms-at'; positions: [shard: number, position: number][]; sends?: boolean }
  /** Each pair: this user shard is committed up to this position. */
  | { s: 'users-at'; positions: [shard: number, position: number][] }
  /** To the federation worker: these servers made a good request, so they can be reached again. */
  | { s: 'heard-from'; servers: string[] }
  /** To the federation worker: durable EDUs wait in the outbox for these servers. */
  | { s: 'outbox'; servers: string[] }
  /**
   * To the federation worker: an EDU (JSON text) that may be lost, such as typing. A newer one of the
   * same key takes the place of one that was not yet sent.
   */
  | { s: 'edu'; servers: string[]; key: string; edu: string }

export type Calls = RoomCalls & FederationCalls

export type Frame =
  | { k: 'call'; id: number; m: string; a: unknown[] }
  | { k: 'ok'; id: number; v: unknown }
  | { k: 'err'; id: number; status: number; errcode: string; error: string; extra: object }
  /** Another server failed: not a bug of ours. */
  | { k: 'remote'; id: number; server: string; status: number; errcode: string; message: string }
  | { k: 'fault'; id: number; message: string; stack: string }
  | { k: 'signal'; v: Signal }

/** A typed client of one side: `rooms.call('send', roomId, event)`. */
export type Caller<C extends { [M in keyof C]: (...args: never[]) => unknown }> = {
  call<M extends keyof C>(method: M, ...args: Parameters<C[M]>): Promise<ReturnType<C[M]>>
}
export type Rooms = Caller<RoomCalls>
export type Federation = Caller<FederationCalls>

/**
 * What a worker persists at once: decided events of many rooms, of disjoint shards. Everything is a
 * number here; IDs were interned before (`intern.ts`). One `RoomPart` per room, so that a batch that
 * failed can be tried again room by room: parts of the same batch do not depend on each other.
 *
 * Numbers of events, rooms, chains and snapshots come from the counter of the room's shard
 * (`shards.ts`), so they may be given out, and built on, before anything is committed.
 */
export type Batch = {
  /** A fresh UUID: by it an unknown outcome is learned. */
  id: string
  /** Every shard of every part, once. */
  shards: ShardAdvance[]
  parts: RoomPart[]
}

export type Lease = { shard: number; epoch: number }

/** What the shard's counters become, and what they must have been. */
export type ShardAdvance = Lease & {
  /** The batch that this one follows: the `id` of the last committed, or what `shards.ts` read. */
  previous: string | null
  position: number
  counter: number
  ingest: number
}

/** Bits of `events.flags`. */
export const eventFlags = { rejected: 1, softFailed: 2, outlier: 4, partial: 8 } as const

/**
 * What one or more decided events change in a room, in the order in which they were decided: a later
 * entry for the same key counts. Empty lists cost nothing.
 */
export type RoomPart = {
  shard: number
  roomNid: number
  /** Set in the first part of a room. */
  created: NewRoom | null
  /** What changes of the room's row; counts of members follow from `state`. */
  room: {
    kind?: RoomKind
    partial?: boolean
    version?: string
    /** The set of servers that who let us in has named. */
    joinSet?: number
  } | null
  events: NewEvent[]
  revised: RevisedEvent[]
  extremities: { added: number[]; removed: number[] }
  /** prev_events that are cited and not here, and those that have come. */
  missing: { added: { eventId: Uint8Array; childNid: number }[]; arrived: Uint8Array[] }
  spans: SpanChange[]
  importChains: ImportChainChange[]
  history: HistoryChange[]
  snapshots: NewSnapshot[]
  /** Changes of the current state; also such as no event caused. */
  state: StateChange[]
  /** Rows of a state generation that no reader uses yet. */
  staged: StagedState | null
  /** Makes a staged generation the room's state; `state` of the same part then changes the new one. */
  flip: Flip | null
  auth: NewAuthNode[]
  /** State events that cannot be numbered yet (`auth-pending.ts`); an entry of `auth` ends it. */
  authPending: PendingAuth[]
  redactions: Redaction[]
  mentions: Mention[]
  txns: LocalTxnRow[]
  /** Inbox rows that are done with: persisted as events, or dropped for good. */
  inbox: number[]
  /** A join whose outcome is in this part, or that failed for good: its row goes. */
  joinsDone: { roomId: string; userId: string }[]
}

export type RoomKind = 'joined' | 'outside'

export type NewRoom = { roomId: string; version: string; kind: RoomKind; partial: boolean }

/** Where an event stands for readers. */
export type Placement = {
  /** The place in the reading order, never changed once given; both or neither. */
  chain: number | null
  chainIndex: number | null
  /** For a live event; null for history, outliers, rejected and soft-failed events. */
  position: number | null
  /** What indexing followers trail: a new number whenever the placement is new; null if staged. */
  ingest: number | null
  flags: number
  /** The state before the event; null where it is not known (outliers). */
  snapshotNid: number | null
  /** The interned set of servers joined before or after it; null if it is sent to nobody. */
  destinationSet: number | null
  /** What the default push rules ask of it. */
  pushFlags: number
  prevNids: readonly number[]
}

export type NewEvent = Placement & {
  eventNid: number
  /** As `packEventId` makes it. */
  eventId: Uint8Array
  typeNid: number
  stateKeyNid: number | null
  senderNid: number
  depth: number
  originServerTs: number
  authNids: readonly number[]
  /** The federation form, the very text that is relayed. */
  json: string
  internal: string | null
  /** Why it was rejected or soft-failed. */
  rejection: string | null
  /** v1–v2: `intern.claimEventIds` has reserved the ID before. */
  claimed: boolean
}

/** A row that is there already, and now stands elsewhere: an outlier that arrives in the timeline, a redaction that is released. */
export type RevisedEvent = Placement & {
  eventNid: number
  /** Left out: they were known before. */
  authNids?: readonly number[]
}

export type Span = {
  orderKey: Uint8Array
  chain: number
  /** Null: open, towards older and newer. */
  from: number | null
  to: number | null
  /** IDs of the missing prev_events before it. */
  gap: readonly string[] | null
  hidden: boolean
  /** Live history that goes on behind an import. */
  afterImport?: boolean
}
/** Rows as they shall be, whether they were there or not. Spans are never taken away. */
export type SpanChange = Span

/** What is null leaves the row as it is. */
export type ImportChainChange = {
  chain: number
  publishedAt: number | null
  hiddenAt: number | null
}

/** MSC2716: what ties batches of history together (`history-links.ts`). */
export type HistoryChange =
  | { kind: 'link'; eventNid: number; batchId: string; isInsertion: boolean }
  /** What a request for a batch is answered, should it come again. */
  | { kind: 'answer'; request: Uint8Array; answer: string; madeAt: number }
  /** An insertion event that has no place before another event comes. */
  | { kind: 'await'; insertionId: Uint8Array; prevId: Uint8Array | null; server: string }
  | { kind: 'arrived'; insertionId: Uint8Array }

export type NewSnapshot = {
  snapshotNid: number
  baseNid: number | null
  height: number
  entries: number
  hash: Uint8Array
  packed: Uint8Array
}

export type Membership = 'join' | 'invite' | 'knock' | 'leave' | 'ban'

export type MemberChange = {
  userNid: number
  serverNid: number
  senderNid: number
  old: Membership | null
  new: Membership | null
}

/** One line of the delta log. */
export type StateChange = {
  position: number
  typeNid: number
  stateKeyNid: number
  oldEventNid: number | null
  newEventNid: number | null
  /** For `m.room.member` with a user ID as state key. */
  member: MemberChange | null
}

export type StagedState = {
  generation: number
  entries: {
    typeNid: number
    stateKeyNid: number
    eventNid: number
    member: { userNid: number; serverNid: number; senderNid: number; new: Membership } | null
  }[]
}

export type Flip = {
  position: number
  from: number
  to: number
  joinedMembers: number
  invitedMembers: number
}

export type PendingAuth = { eventNid: number; cites: readonly Uint8Array[] }

export type NewAuthNode = { eventNid: number; order: number; parents: readonly number[] }

/** Put again with `applied` once both are known and the redaction counts. */
export type Redaction = { targetId: Uint8Array; redactionNid: number; applied: boolean }

export type Mention = { position: number; userNid: number }

export type LocalTxnRow = {
  userId: string
  deviceId: string
  path: string
  txnId: string
  eventNid: number
  sentAt: number
}

/** A part that changes nothing yet. */
export const emptyPart = (shard: number, roomNid: number): RoomPart => ({
  shard,
  roomNid,
  created: null,
  room: null,
  events: [],
  revised: [],
  extremities: { added: [], removed: [] },
  missing: { added: [], arrived: [] },
  spans: [],
  importChains: [],
  history: [],
  snapshots: [],
  state: [],
  staged: null,
  flip: null,
  auth: [],
  authPending: [],
  redactions: [],
  mentions: [],
  txns: [],
  inbox: [],
  joinsDone: [],
})

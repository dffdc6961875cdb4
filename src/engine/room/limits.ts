/**
 * What a room worker holds and does at most. Times in milliseconds. The operator may change an entry;
 * tests do.
 */
export const defaultLimits = {
  /** Inbox events of one room in memory; the rest stay in the inbox. */
  laneEvents: 400,
  /** Bytes of inbox events in memory: of all rooms, up to twice that with one event of each, and of one. */
  inboxBytes: 32 * 2 ** 20,
  laneBytes: 2 ** 20,
  /** Rooms that are read from the inbox at once. */
  readersAtOnce: 32,
  /** Rooms that wait to be read, at a start; those behind them follow. */
  resumeAhead: 500,
  /** Events that lack something, of one room and of one origin in it. */
  parkedPerRoom: 200,
  parkedPerOrigin: 100,
  /** The same of all rooms of a worker, and bytes of what waits for peers. */
  parkedInAll: 4_000,
  parkedOfOrigin: 800,
  asideBytes: 16 * 2 ** 20,
  /** Rows that were put off and come at once when what they lack does: of one room, of all of a worker. */
  putOffPerRoom: 5_000,
  putOffInAll: 20_000,
  /**
   * A room with more rows in the inbox is thinned: so many of the first stay, of the rest the newest of
   * each server and so many of its state events. How often that is looked at.
   */
  thinAbove: 40_000,
  thinKeep: 25_000,
  thinNewest: 5,
  thinStates: 100,
  thinEveryMs: 10_000,
  /** How many are prepared at once: parsed, verified, looked up. */
  prepare: 50,
  /** Decided and not yet committed; inbox events wait above it. */
  decidedAhead: 2_000,
  /** Bytes of rooms kept in memory: half of it their events, a quarter their states. */
  roomBytes: 64_000_000,
  /** How long a merge that was overtaken again and again may keep local changes of the state waiting. */
  holdMs: 10_000,
  /**
   * A room with more ends that nobody cites is tied together, after so long; one with very many soon. So
   * many events at once, each citing 20; how long it is left where nobody of ours may say anything.
   */
  ends: 10,
  endsAtOnce: 200,
  tieMs: 120_000,
  tieSoonMs: 5_000,
  tiesAtOnce: 50,
  tiePauseMs: 3_600_000,
  /** One turn of a lane, and how long the event loop may wait for its own. */
  quantumMs: 1,
  sliceMs: 4,
  /** Local sends are refused when PostgreSQL has been away for so long. */
  awayMs: 3_000,
  /** A lane that does not rest asks for what it lacks after so long, and so often. */
  askAfterMs: 2_000,
  /** What one event may wait for ancestors that peers are asked for. */
  missingMs: 60_000,
  /** One request for missing events, or for keys. */
  requestMs: 20_000,
  keysMs: 20_000,
  /** One request to a policy server, what an event of another server waits for it, the first pause after a failure. */
  policyMs: 20_000,
  policyWaitMs: 60_000,
  policyPauseMs: 1_000,
  /** Local users who wait for one policy server, and for all: who comes then is told to come again. */
  policyAsking: 100,
  policyAskingInAll: 500,
  /** A join, an invite, the rejection of an invite through other servers. */
  joinMs: 150_000,
  inviteMs: 60_000,
  leaveMs: 30_000,
  /** Ancestors fetched for one parked event before its state is fetched instead. */
  missingEvents: 200,
  /** Bytes of what one search has found, and all of a worker; then the state is fetched instead. */
  searchBytes: 2 * 2 ** 20,
  searchBytesInAll: 16 * 2 ** 20,
  /** Searches for missing events at once: in all, in one room, and of one origin in all rooms. */
  searches: 64,
  searchesPerRoom: 4,
  searchesPerOrigin: 8,
  /** One request for a page of history, and all of them that a reader waits for. */
  pageMs: 15_000,
  backfillMs: 45_000,
  /** Attempts of an inbox row before it is dropped, and the first pause between them. */
  attempts: 8,
  retryMs: 30_000,
  /** How long a row may wait for room among the parked. */
  keepDeferredMs: 86_400_000,
  /** How often inboxes are looked through for rows whose time has come. */
  inboxPollMs: 5_000,
  /** Rooms that are imported into at once, and steps of imports that wait. */
  importSteps: 4,
  importStepsWaiting: 32,
  /** Below this depth no message is in rooms made here, so that imports find numbers there; 0: as usual. */
  messageDepth: 0,
  /** How often what is no longer needed is tidied up, and how long transaction IDs are. */
  tidyMs: 3_600_000,
  keepTxnsMs: 7 * 86_400_000,
}

export type Limits = typeof defaultLimits

/** The limits with the operator's changes. */
export const limitsWith = (changes: { [name: string]: number }): Limits => ({
  ...defaultLimits,
  ...changes,
})

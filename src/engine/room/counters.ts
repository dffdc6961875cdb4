import { Histogram } from '#core/histogram.ts'

/** What checks of events of other servers take, in milliseconds each. */
export type Times = ReturnType<typeof newTimes>

export const newTimes = () => ({
  /** Checks 1 to 3: read, signatures, hash. */
  verify: new Histogram(eventBounds),
  /** Checks 4 and 5: the rules, by its auth events and by the state before it. */
  authorize: new Histogram(eventBounds),
})

const eventBounds: readonly number[] = [0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1, 5, 25]

/** What a room worker counts: plain numbers, read by whoever asks. */
export type Counters = ReturnType<typeof newCounters>

export const newCounters = () => ({
  /** Events of other servers: accepted into a room, rejected, soft-failed. */
  accepted: 0,
  rejected: 0,
  softFailed: 0,
  /** Dropped for what they are: malformed, unsigned, of a server that may not take part. */
  dropped: 0,
  duplicates: 0,
  /** Their content hash did not match: kept redacted. */
  redacted: 0,
  local: 0,
  refused: 0,
  parkedForKeys: 0,
  parkedForEvents: 0,
  parkedForPolicy: 0,
  /** The park was full: left in the inbox. */
  notParked: 0,
  postponed: 0,
  /** Rows that were put off, and read again because what they lacked had come. */
  woken: 0,
  /** Rows of rooms very far behind that were dropped, because others cite them. */
  thinned: 0,
  /** Dropped after their last attempt. */
  givenUp: 0,
  quarantined: 0,
  resolutions: 0,
  resolutionMs: 0,
  /** Merges that went on from the resolution before. */
  mergesFast: 0,
  /** Merges that had to be repeated because the room had moved. */
  mergesRepeated: 0,
  missingRequests: 0,
  stateFetches: 0,
})

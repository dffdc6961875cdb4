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
  /** The park was full: left in the inbox. */
  notParked: 0,
  postponed: 0,
  /** Dropped after their last attempt. */
  givenUp: 0,
  quarantined: 0,
  resolutions: 0,
  resolutionMs: 0,
  /** Merges that had to be repeated because the room had moved. */
  mergesRepeated: 0,
  missingRequests: 0,
  stateFetches: 0,
})

/** What a worker is asked about its lanes: the longest, so many, and some by name. */
export type LanesWanted = { longest: number; rooms: string[] }

/** Something that a lane waits for, or is at, and for how long. */
export type LaneWait = {
  what:
    | 'keys'
    | 'missing_events'
    | 'state_resolution'
    | 'commit'
    | 'turn'
    | 'database'
    | 'join'
    | 'removal'
    | 'room_held'
    | 'later_attempt'
  /** The server that is asked, or was the last to be, where one is. */
  server?: string
  /** Milliseconds; left out where nobody noted since when. */
  forMs?: number
  /** How much waits for it, where that is known. */
  count?: number
}

/** One lane, in memory. Its rows in the database are counted there. */
export type LaneReport = {
  roomId: string
  /** What local users wait for. */
  local: number
  /** Events of other servers that are in memory: read, prepared, waiting for keys, parked. */
  inbound: number
  /** Of these, those that lack ancestors. */
  parked: number
  /** Decided and not committed. */
  uncommitted: number
  /** Milliseconds of processor time since the lane came into memory. */
  spentMs: number
  waits: LaneWait[]
}

export type LanesReport = LaneReport[]

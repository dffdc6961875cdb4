import { domainOf } from '#core/ids.ts'

export type PresenceState = 'online' | 'unavailable' | 'offline'

/** A device that shows its user as present. */
export type Device = {
  state: 'online' | 'unavailable'
  /** Requests of /sync under way: while there is one, the device is there. */
  syncs: number
  seenAt: number
}

/** What is told of a user. */
export type Shown = {
  readonly state: PresenceState
  readonly statusMsg: string | undefined
  readonly currentlyActive: boolean
}

/** What is kept of one user, of this server or another. */
export type Entry = {
  readonly userId: string
  readonly isOwn: boolean
  /** Of a user of ours. */
  readonly devices: Map<string, Device>
  /** Of another server's user, as it said last. */
  said: Shown | undefined
  heardAt: number
  statusMsg: string | undefined
  /** Whether `statusMsg` counts: it may have to be read first. */
  knowsStatus: boolean
  /** When the user last did something. */
  activeAt: number
  /** What was told last, and at which position; 0: nothing yet. */
  shown: Shown
  at: number
  /** When other servers were told last. */
  toldAt: number
  /** The rooms that they are joined to, by number, as they were read last; undefined: not yet. */
  rooms: ReadonlySet<number> | undefined
  roomsAt: number
  /** Counts moves between rooms, so that what was read meanwhile is read again. */
  moves: number
}

export const nobody: Shown = { state: 'offline', statusMsg: undefined, currentlyActive: false }

/** Somebody of whom nothing is known yet. */
export const newEntry = (userId: string, serverName: string): Entry => ({
  userId,
  isOwn: domainOf(userId) === serverName,
  devices: new Map(),
  said: undefined,
  heardAt: 0,
  statusMsg: undefined,
  knowsStatus: false,
  activeAt: 0,
  shown: nobody,
  at: 0,
  toldAt: 0,
  rooms: undefined,
  roomsAt: 0,
  moves: 0,
})

/** A user of ours who has done nothing for so long is not reachable. Spec: client-server-api/#idle-timeout */
export const idleMs = 300_000

/**
 * What is to be told of a user: of several devices the most present counts. Whoever is online was
 * active within the idle timeout, and so is told to be active: no news of the time is needed then.
 *
 * Spec: client-server-api/#last-active-ago
 */
export function showOf(entry: Entry, now: number): Shown {
  if (!entry.isOwn) return entry.said ?? nobody
  const { devices, statusMsg, activeAt } = entry
  if (devices.size === 0) return { state: 'offline', statusMsg, currentlyActive: false }
  const isOnline =
    now - activeAt < idleMs && devices.values().some(({ state }) => state === 'online')
  return { state: isOnline ? 'online' : 'unavailable', statusMsg, currentlyActive: isOnline }
}

export const isSame = (a: Shown, b: Shown): boolean =>
  a.state === b.state && a.statusMsg === b.statusMsg

/**
 * The content of `m.presence`, and what is told to who asks. Not spec: it repeats no name or picture of
 * the user, which member events say.
 */
export const contentOf = ({ activeAt }: Pick<Entry, 'activeAt'>, shown: Shown, now: number) => ({
  presence: shown.state,
  ...(activeAt > 0 && { last_active_ago: Math.max(0, now - activeAt) }),
  ...(shown.statusMsg !== undefined && { status_msg: shown.statusMsg }),
  ...(shown.state === 'online' && { currently_active: shown.currentlyActive }),
})

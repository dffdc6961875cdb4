import { mentionedUsers, pushFacts } from '#core/push/facts.ts'
import type { ReadEvent } from '#engine/read/events.ts'

export type Counts = { notify: number; highlight: number }

/** What a user has not read of one room: in no thread, and by the root of each thread. */
export type Unread = { main: Counts; threads: ReadonlyMap<string, Counts> }

/** All live events of a room after a position, oldest first, with what the default push rules ask of each. */
export type Arrivals = {
  readonly low: number
  readonly events: readonly { readonly read: ReadEvent; readonly pushFlags: number }[]
}

/** What was counted up to a position, and of how many events. */
export type Counted = {
  readonly at: number
  readonly unread: Unread
  readonly looked: number
}

export type CountedFor = {
  readonly userId: string
  readonly ignored: ReadonlySet<string>
  /** Up to where the user has read what is in no thread. */
  readonly mainLow: number
  /** No count grows beyond it. */
  readonly most: number
}

const { notify, highlight, threaded } = pushFacts

/**
 * What is unread after all that came since it was counted, by the default rules; undefined where that must be
 * counted by the database: something came in a thread, or what came is not all known.
 */
export function countArrivals(
  { at, unread, looked }: Counted,
  { events }: Arrivals,
  { userId, ignored, mainLow, most }: CountedFor,
): Pick<Counted, 'unread' | 'looked'> | undefined {
  let { main } = unread
  let more = 0
  for (const { read, pushFlags } of events) {
    const { event, position, redactedBecause } = read
    // A redacted event does not say any more whom it mentioned.
    if (position === undefined || redactedBecause) return undefined
    if (position <= at) continue
    more++
    if (ignored.has(event.sender)) continue
    const isOwn = event.sender === userId
    const flags = mentionedUsers(event).includes(userId) ? notify | highlight : pushFlags
    if (pushFlags & threaded) {
      if (isOwn || flags & (notify | highlight)) return undefined
    } else if (isOwn) main = { notify: 0, highlight: 0 }
    else if (position > mainLow)
      main = {
        notify: Math.min(most, main.notify + (flags & notify ? 1 : 0)),
        highlight: Math.min(most, main.highlight + (flags & highlight ? 1 : 0)),
      }
  }
  return { unread: { ...unread, main }, looked: looked + more }
}

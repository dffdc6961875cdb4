import { LRUCache } from 'lru-cache'
import { atMost } from '#core/at-most.ts'
import type { News } from '#engine/read/news.ts'
import type { KeySupply } from './to-device.ts'

/** What account data says of what a user is shown, as of a position of their stream. */
export type Wishes = {
  readonly at: number
  /** Users whose messages are not to be shown. */
  readonly ignored: ReadonlySet<string>
  /** Whether invites are not to be shown. */
  readonly blocksInvites: boolean
}

/**
 * What was read of users and their devices, each with the position of the user's stream that it is true
 * for: it holds while `News` says that nothing of its kind has come since. What came between the position
 * and the reading of it only makes it newer.
 */
export class UserFacts {
  /** By user ID. */
  readonly wishes = new LRUCache<string, Wishes>(atMost(50_000))
  /** By user and device: up to where nothing waits for it. */
  readonly emptyUpTo = new LRUCache<string, number>(atMost(50_000))
  /** By user and device. */
  readonly supplies = new LRUCache<string, { at: number; supply: KeySupply }>(atMost(50_000))
}

export const deviceName = (userId: string, deviceId: string): string => `${userId} ${deviceId}`

/** What a section may spare itself to ask. */
export type Known = { readonly facts: UserFacts; readonly news: News }

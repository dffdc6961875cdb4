import { type Filter, parseFilter } from '#core/filter.ts'
import type { SyncToken } from '#engine/read/sync-token.ts'
import type { SyncRequest } from '#engine/sync/plan.ts'
import type { RequiredState } from './required-state.ts'

/** What a client wants of a room. */
export type RoomConfig = {
  /** Events of a timeline at most. */
  readonly limit: number
  readonly required: RequiredState
}

/** Which rooms a list has; what is absent leaves all in. */
export type Filters = {
  readonly isDm?: boolean | undefined
  readonly isEncrypted?: boolean | undefined
  readonly isInvite?: boolean | undefined
  /** Null: rooms without a type. */
  readonly roomTypes?: ReadonlySet<string | null> | undefined
  readonly notRoomTypes?: ReadonlySet<string | null> | undefined
  /** In lower case. */
  readonly nameLike?: string | undefined
  readonly tags?: ReadonlySet<string> | undefined
  readonly notTags?: ReadonlySet<string> | undefined
  /** Rooms that are children of one of these. */
  readonly spaces?: readonly string[] | undefined
}

export type ListRequest = {
  readonly config: RoomConfig
  /** Both ends included; undefined: all rooms. */
  readonly ranges: readonly (readonly [number, number])[] | undefined
  readonly filters: Filters
}

/** For which of the rooms of an answer an extension is wanted; undefined: for all. */
export type Scope = {
  readonly lists: ReadonlySet<string> | undefined
  readonly rooms: ReadonlySet<string> | undefined
}

/** What is wanted besides rooms; undefined: not wanted. */
export type Extensions = {
  readonly toDevice?: { readonly since: number; readonly limit: number } | undefined
  readonly e2ee?: true | undefined
  readonly accountData?: Scope | undefined
  readonly receipts?: Scope | undefined
  readonly typing?: Scope | undefined
}

/** What one request asks for. */
export type SlidingRequest = {
  readonly userId: string
  readonly deviceId: string
  /** Which of the connections of the device. */
  readonly connId: string
  /** Undefined: a new connection. */
  readonly pos: string | undefined
  readonly lists: ReadonlyMap<string, ListRequest>
  /** By room ID. */
  readonly subscriptions: ReadonlyMap<string, RoomConfig>
  readonly extensions: Extensions
}

/** What satisfies both. MSC4186: "Combining room configs" */
export function combine(one: RoomConfig, other: RoomConfig): RoomConfig {
  if (one === other) return one
  return {
    limit: Math.max(one.limit, other.limit),
    required: one.required.union(other.required),
  }
}

const everything = parseFilter({}) as Filter

/** The same request as the sections of /sync are asked. */
export const asSyncRequest = (
  { userId, deviceId }: Pick<SlidingRequest, 'userId' | 'deviceId'>,
  since: SyncToken | undefined,
): SyncRequest => ({
  userId,
  deviceId,
  since,
  filter: everything,
  fullState: false,
  stateAfter: 'state_after',
})

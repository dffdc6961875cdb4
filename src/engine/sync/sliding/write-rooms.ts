import { membershipOf } from '#core/content/m.room.member.ts'
import { roomAvatarOf } from '#core/content/m.room.avatar.ts'
import { roomNameOf } from '#core/content/m.room.name.ts'
import type { JsonObject } from '#core/json.ts'
import { type Audience, type ReadEvent, writeEvent } from '#engine/read/events.ts'
import type { Seen } from '#engine/read/visible.ts'
import { leaveWithoutEvent } from '#engine/sync/taken-away.ts'
import { emptyTimeline, type Timeline } from '#engine/sync/timelines.ts'
import type { Unread } from '#engine/sync/arrivals.ts'
import { isAsked } from './away.ts'
import type { RoomState } from './read-state.ts'
import type { Own } from './own-lists.ts'
import type { Telling } from './tell.ts'

/** What was read for the rooms of an answer. */
export type RoomParts = {
  readonly timelines: ReadonlyMap<number, Timeline>
  readonly seen: ReadonlyMap<number, Seen>
  readonly states: ReadonlyMap<number, RoomState>
  /** Further events, by number. */
  readonly extra: ReadonlyMap<number, ReadEvent>
  readonly relations: ReadonlyMap<number, JsonObject>
  readonly asked: ReadonlyMap<number, { state: JsonObject[] }>
  readonly unread: ReadonlyMap<number, Unread>
  readonly own: Own
  /** Where older events can be had if no timeline was asked for. */
  readonly prevBatch: string
  /** Up to where the client was told the last time, by shard; undefined: it is new. */
  readonly since: Float64Array | undefined
}

/** A room as an answer tells it; undefined if there is nothing to tell. */
export function writeRoom(
  telling: Telling,
  parts: RoomParts,
  audience: Audience,
): JsonObject | undefined {
  const { entry, initial, plan } = telling
  const { place } = entry
  const room: JsonObject = {
    ...unreadOf(parts.unread.get(place.roomNid)),
    ...(initial && { initial: true }),
    ...(parts.own.direct.has(place.roomId) && { is_dm: true }),
  }
  if (isAsked(place)) {
    const state = parts.asked.get(place.roomNid)?.state ?? []
    return { ...room, bump_stamp: entry.bump, invite_state: state }
  }
  const state = plan ? parts.states.get(place.roomNid) : outOf(telling, parts, audience)
  const required = (state?.required ?? []).map((event) => writeEvent(event, audience))
  const timeline = plan ? timelineOf(telling, parts, audience) : {}
  const summary = state ? summaryOf(state, initial) : {}
  const hasNews =
    initial ||
    required.length > 0 ||
    Object.keys(summary).length > 0 ||
    (timeline['timeline'] as JsonObject[] | undefined)?.length ||
    timeline['limited'] === true
  if (!hasNews) return undefined
  return {
    ...room,
    ...summary,
    bump_stamp: entry.bump,
    ...(required.length > 0 && { required_state: required }),
    ...timeline,
  }
}

/** Unread in all threads together: clients of sliding sync do not ask for them apart. */
export function unreadOf(unread: Unread | undefined): {
  notification_count: number
  highlight_count: number
} {
  const all = unread ? [unread.main, ...unread.threads.values()] : []
  return {
    notification_count: all.reduce((sum, { notify }) => sum + notify, 0),
    highlight_count: all.reduce((sum, { highlight }) => sum + highlight, 0),
  }
}

/** An invite or a knock that ended: the client only has to know what they are now. */
function outOf({ entry: { place } }: Telling, { extra }: RoomParts, audience: Audience): RoomState {
  const event =
    place.eventNid === undefined
      ? leaveWithoutEvent(place, audience.userId, place.position, audience.now)
      : extra.get(place.eventNid)
  return {
    required: event ? [event] : [],
    name: undefined,
    avatar: undefined,
    counts: undefined,
    heroes: [],
  }
}

function summaryOf({ name, avatar, counts, heroes }: RoomState, initial: boolean): JsonObject {
  const called = roomNameOf(name?.event.content)
  const url = roomAvatarOf(avatar?.event.content)
  const stand = counts && called === undefined ? heroes : []
  return {
    ...(called !== undefined && { name: called }),
    ...(url !== undefined && { avatar: url }),
    ...(counts && { joined_count: counts.joined, invited_count: counts.invited }),
    ...(stand.length > 0 && { heroes: stand.map((hero) => heroOf(hero)) }),
    // Not spec: a name that was taken away is told as none, where other servers do not tell it.
    ...(!initial && name !== undefined && called === undefined && { name: null }),
  }
}

function heroOf({ event }: ReadEvent): JsonObject {
  const { displayname, avatar_url: url } = event.content
  return {
    user_id: event.stateKey ?? event.sender,
    ...(typeof displayname === 'string' && { displayname }),
    ...(typeof url === 'string' && membershipOf(event.content) && { avatar_url: url }),
  }
}

function timelineOf(telling: Telling, parts: RoomParts, audience: Audience): JsonObject {
  const { config, expanded, plan } = telling
  const { roomNid, shard } = plan!.room
  if (config.limit === 0) return { prev_batch: parts.prevBatch }
  const { events, limited, prevBatch } = parts.timelines.get(roomNid) ?? emptyTimeline
  const told = parts.since?.[shard]
  const live = events.findLastIndex(
    ({ position }) => told === undefined || position === undefined || position <= told,
  )
  return {
    ...(expanded && { unstable_expanded_timeline: true }),
    ...(events.length > 0 && {
      timeline: events.map((event) =>
        writeEvent(event, audience, {
          membership: parts.seen.get(event.nid)?.membership,
          replaced:
            event.replacedNid === undefined ? undefined : parts.extra.get(event.replacedNid),
          relations: parts.relations.get(event.nid),
        }),
      ),
    }),
    limited,
    prev_batch: prevBatch ?? parts.prevBatch,
    num_live: events.length - 1 - live,
  }
}

import { project } from '#core/filter.ts'
import type { JsonObject } from '#core/json.ts'
import type { Erased } from '#engine/read/erased.ts'
import { type Audience, type ReadEvent, writeEvent } from '#engine/read/events.ts'
import type { Place } from '#engine/read/places.ts'
import type { Summary } from '#engine/read/summary.ts'
import type { Seen } from '#engine/read/visible.ts'
import type { AccountData } from './account-data.ts'
import type { DeviceListNews } from './device-lists.ts'
import type { Plan, RoomPlan, SyncRequest } from './plan.ts'
import { leaveWithoutEvent } from './taken-away.ts'
import { type Timeline, emptyTimeline } from './timelines.ts'
import type { KeySupply, ToDeviceSection } from './to-device.ts'
import type { Unread } from './arrivals.ts'
import { writeUnread } from './write-unread.ts'

/** Everything that was read for one answer. */
export type Parts = {
  readonly nextBatch: string
  readonly plan: Plan
  readonly byRoom: ReadonlyMap<number, Place>
  readonly timelines: ReadonlyMap<number, Timeline>
  readonly seen: ReadonlyMap<number, Seen>
  readonly states: ReadonlyMap<number, readonly ReadEvent[]>
  readonly summaries: ReadonlyMap<number, Summary>
  /** Invites and knocks, with who made them. */
  readonly asked: ReadonlyMap<number, { sender: string; state: JsonObject[] }>
  /** Further events, by number. */
  readonly extra: ReadonlyMap<number, ReadEvent>
  /** What relates to events, by their number. */
  readonly relations: ReadonlyMap<number, JsonObject>
  readonly accountData: AccountData
  /** What passes, by room number. */
  readonly ephemeral: ReadonlyMap<number, readonly JsonObject[]>
  /** Who is there, or not any more. */
  readonly presence: readonly JsonObject[]
  /** What was not read, by room number. */
  readonly unread: ReadonlyMap<number, Unread>
  readonly toDevice: ToDeviceSection
  readonly keySupply: KeySupply
  readonly deviceLists: DeviceListNews
}

export type Answer = {
  readonly json: JsonObject & { next_batch: string }
  readonly hasNews: boolean
}

/** The answer's JSON; sections with nothing in them are left out. */
export function writeAnswer(
  { clock, erased }: { clock: () => number; erased?: Erased | undefined },
  request: SyncRequest,
  parts: Parts,
): Answer {
  const { filter, since } = request
  const writer = new Writer(request, parts, clock(), erased)
  const rooms: JsonObject = {}
  for (const [name, section] of Object.entries({
    join: writer.joined(),
    invite: writer.asked(parts.plan.invites, 'invite_state'),
    knock: writer.asked(parts.plan.knocks, 'knock_state'),
    leave: writer.left(),
  }))
    if (Object.keys(section).length > 0) rooms[name] = section
  const global = parts.accountData.global.filter((entry) => filter.accountData.accepts(entry))
  const { toDevice, keySupply, deviceLists, presence } = parts
  const { changed, left } = deviceLists
  const hasNews =
    Object.keys(rooms).length > 0 ||
    global.length > 0 ||
    toDevice.events.length > 0 ||
    presence.length > 0 ||
    changed.length > 0 ||
    left.length > 0
  return {
    hasNews,
    json: {
      next_batch: parts.nextBatch,
      ...(Object.keys(rooms).length > 0 && { rooms }),
      ...(global.length > 0 && { account_data: { events: global } }),
      ...(presence.length > 0 && { presence: { events: [...presence] } }),
      ...(toDevice.events.length > 0 && { to_device: { events: [...toDevice.events] } }),
      // Required even when there are none.
      device_one_time_keys_count: { ...keySupply.oneTimeKeys },
      device_unused_fallback_key_types: [...keySupply.unusedFallbacks],
      ...(since && { device_lists: { changed: [...changed], left: [...left] } }),
    },
  }
}

class Writer {
  readonly #request: SyncRequest
  readonly #parts: Parts
  readonly #audience: Audience

  constructor(request: SyncRequest, parts: Parts, now: number, erased: Erased | undefined) {
    const { userId, deviceId, filter } = request
    this.#request = request
    this.#parts = parts
    const format = filter.eventFormat
    this.#audience = { userId, deviceId, now, format, withoutRoomId: true, erased }
  }

  joined(): JsonObject {
    const { plan, byRoom, accountData, ephemeral } = this.#parts
    const section: JsonObject = {}
    for (const each of plan.rooms) {
      if (each.kind !== 'join') continue
      const room = this.#room(each)
      if (room) section[each.room.roomId] = room
    }
    if (accountData.rooms.size === 0 && ephemeral.size === 0) return section
    // Rooms in which nothing else happened.
    const others =
      accountData.rooms.size > 0
        ? byRoom.values()
        : Array.from(ephemeral.keys()).flatMap((roomNid) => byRoom.get(roomNid) ?? [])
    for (const { roomId, roomNid, membership } of others) {
      if (membership !== 'join' || roomId in section) continue
      const events = this.#accountData(roomId)
      const passing = ephemeral.get(roomNid) ?? []
      if (events.length === 0 && passing.length === 0) continue
      if (!this.#request.filter.rooms.accepts(roomId)) continue
      section[roomId] = {
        ...(events.length > 0 && { account_data: { events } }),
        ...(passing.length > 0 && { ephemeral: { events: [...passing] } }),
        timeline: { events: [], limited: false },
        ...this.#unread(roomNid),
      }
    }
    return section
  }

  left(): JsonObject {
    const section: JsonObject = {}
    const state = this.#request.stateAfter ?? 'state'
    for (const each of this.#parts.plan.rooms) {
      if (each.kind !== 'leave') continue
      const timeline = this.#timeline(each)
      section[each.room.roomId] = {
        [state]: { events: this.#state(each) },
        timeline,
        account_data: { events: this.#accountData(each.room.roomId) },
      }
    }
    for (const room of this.#parts.plan.refused) {
      const event = room.eventNid === undefined ? undefined : this.#parts.extra.get(room.eventNid)
      const events = event ? [this.#write(event, { membership: room.membership })] : []
      section[room.roomId] = {
        [state]: { events: room.eventNid === undefined ? [this.#gone(room)] : [] },
        timeline: { events, limited: false },
      }
    }
    return section
  }

  asked(places: readonly Place[], name: 'invite_state' | 'knock_state'): JsonObject {
    const { asked, accountData } = this.#parts
    const section: JsonObject = {}
    // Invites that came before they were blocked are there still. Spec: client-server-api/#invite-permission
    if (name === 'invite_state' && accountData.blocksInvites) return section
    for (const { roomNid, roomId } of places) {
      const found = asked.get(roomNid)
      // Spec: client-server-api/#ignoring-users
      if (!found || (name === 'invite_state' && accountData.ignored.has(found.sender))) continue
      section[roomId] = { [name]: { events: found.state } }
    }
    return section
  }

  /** Undefined if there is nothing to tell. */
  #room(plan: RoomPlan): JsonObject | undefined {
    const { roomNid, roomId } = plan.room
    const timeline = this.#timeline(plan)
    const state = this.#state(plan)
    const accountData = this.#accountData(roomId)
    const ephemeral = [...(this.#parts.ephemeral.get(roomNid) ?? [])]
    const summary = this.#parts.summaries.get(roomNid)
    const hasNews =
      plan.full ||
      timeline['limited'] === true ||
      (timeline['events'] as JsonObject[]).length > 0 ||
      state.length > 0 ||
      accountData.length > 0 ||
      ephemeral.length > 0 ||
      summary !== undefined
    if (!hasNews) return undefined
    return {
      summary: summary ? writeSummary(summary) : {},
      [this.#request.stateAfter ?? 'state']: { events: state },
      timeline,
      ephemeral: { events: ephemeral },
      account_data: { events: accountData },
      ...this.#unread(roomNid),
    }
  }

  #unread(roomNid: number): JsonObject {
    const unread = this.#parts.unread.get(roomNid)
    return unread
      ? writeUnread(unread, this.#request.filter.timeline.unreadThreadNotifications)
      : {}
  }

  #timeline({ room }: RoomPlan): JsonObject {
    const { timelines, seen, extra, relations, nextBatch } = this.#parts
    const { events, limited, prevBatch } = timelines.get(room.roomNid) ?? emptyTimeline
    return {
      events: events.map((event) =>
        this.#write(event, {
          membership: seen.get(event.nid)?.membership,
          replaced: event.replacedNid === undefined ? undefined : extra.get(event.replacedNid),
          relations: relations.get(event.nid),
        }),
      ),
      limited,
      prev_batch: prevBatch ?? nextBatch,
    }
  }

  #state({ room }: RoomPlan): JsonObject[] {
    return (this.#parts.states.get(room.roomNid) ?? []).map((event) => this.#write(event))
  }

  #gone(room: Place): JsonObject {
    const { userId, now } = this.#audience
    return this.#write(leaveWithoutEvent(room, userId, room.position, now))
  }

  #accountData(roomId: string): JsonObject[] {
    const filter = this.#request.filter.roomAccountData
    if (!filter.rooms.accepts(roomId)) return []
    return (this.#parts.accountData.rooms.get(roomId) ?? []).filter((entry) =>
      filter.accepts(entry),
    )
  }

  #write(event: ReadEvent, surroundings?: Parameters<typeof writeEvent>[2]): JsonObject {
    const json = writeEvent(event, this.#audience, surroundings)
    const { eventFields } = this.#request.filter
    return eventFields ? project(json, eventFields) : json
  }
}

const writeSummary = ({ heroes, joined, invited }: Summary): JsonObject => ({
  ...(heroes && { 'm.heroes': [...heroes] }),
  'm.joined_member_count': joined,
  'm.invited_member_count': invited,
})

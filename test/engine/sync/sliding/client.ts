import { Sliding, slidingSync } from '#engine/sync/sliding/sliding.ts'
import { RequiredState } from '#engine/sync/sliding/required-state.ts'
import type { Extensions, Filters, SlidingRequest } from '#engine/sync/sliding/request.ts'
import type { Story } from '#test/engine/read/story.ts'

export type Wish = { required?: [string, string][]; limit?: number }
export type ListWish = Wish & { ranges?: [number, number][]; filters?: Filters }
export type Ask = {
  pos?: string | undefined
  connId?: string
  deviceId?: string
  lists?: Record<string, ListWish>
  subscriptions?: Record<string, Wish>
  extensions?: Extensions
  timeoutMs?: number
  signal?: AbortSignal
}

export type Told = {
  event_id: string
  type: string
  sender: string
  state_key?: string
  content: Record<string, unknown>
  unsigned: Record<string, unknown>
}
export type Room = {
  initial?: true
  name?: string | null
  avatar?: string
  is_dm?: true
  heroes?: { user_id: string; displayname?: string; avatar_url?: string }[]
  joined_count?: number
  invited_count?: number
  notification_count: number
  highlight_count: number
  bump_stamp?: number
  required_state?: Told[]
  timeline?: Told[]
  limited?: boolean
  num_live?: number
  prev_batch?: string
  unstable_expanded_timeline?: true
  invite_state?: Told[]
}
export type Entry = { type: string; content: object }
export type Answer = {
  pos: string
  lists: Record<string, { count: number; ops: { range: [number, number]; room_ids: string[] }[] }>
  rooms: Record<string, Room>
  extensions: {
    to_device?: { next_batch: string; events: Entry[] }
    e2ee?: {
      device_one_time_keys_count: Record<string, number>
      device_unused_fallback_key_types: string[]
      device_lists?: { changed: string[]; left: string[] }
    }
    account_data?: { global: Entry[]; rooms: Record<string, Entry[]> }
    receipts?: { rooms: Record<string, Entry> }
    typing?: { rooms: Record<string, Entry> }
  }
}

/** Clients of sliding sync on the rooms of a story. */
export class SlidingClients {
  readonly story: Story
  sliding: Sliding
  readonly clock: () => number

  constructor(
    story: Story,
    { clock, ...limits }: { rooms?: number; cost?: number; clock?: () => number } = {},
  ) {
    this.story = story
    this.clock = clock ?? story.clock
    this.sliding = new Sliding(limits)
  }

  async ask(userId: string, asked: Ask = {}): Promise<Answer> {
    const { timeoutMs = 0, signal = new AbortController().signal } = asked
    const reader = Object.assign(Object.create(this.story) as Story, {
      sliding: this.sliding,
      clock: this.clock,
    })
    const answer = await slidingSync(reader, requestOf(userId, asked), signal, timeoutMs)
    return JSON.parse(JSON.stringify(answer)) as Answer
  }
}

function requestOf(userId: string, asked: Ask): SlidingRequest {
  const config = ({ required = [], limit = 10 }: Wish) => ({
    limit,
    required: RequiredState.parse(required, userId),
  })
  const { pos, connId = '', deviceId = 'DEVICE', lists = {}, subscriptions = {} } = asked
  return {
    userId,
    deviceId,
    connId,
    pos,
    lists: new Map(
      Object.entries(lists).map(([name, { ranges, filters = {}, ...wish }]) => [
        name,
        { config: config(wish), ranges, filters },
      ]),
    ),
    subscriptions: new Map(
      Object.entries(subscriptions).map(([roomId, wish]) => [roomId, config(wish)]),
    ),
    extensions: asked.extensions ?? {},
  }
}

export const bodies = (room: Room | undefined) =>
  (room?.timeline ?? []).flatMap(({ content }) => content['body'] ?? [])
/** Type and state key of what is told of a room's state, sorted. */
export const stateOf = (room: Room | undefined) =>
  (room?.required_state ?? []).map((event) => `${event.type}|${event.state_key}`).sort()

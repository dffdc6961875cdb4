import { Type as t, type Static } from '@sinclair/typebox'
import { op } from '#api/http/op.ts'
import { forbidden, invalidParam } from '#core/error.ts'
import { Content, open, record } from '#core/schema.ts'
import { slidingSync as answerSync } from '#engine/sync/sliding/sliding.ts'
import { RequiredState } from '#engine/sync/sliding/required-state.ts'
import type {
  Extensions,
  Filters,
  ListRequest,
  RoomConfig,
  Scope,
} from '#engine/sync/sliding/request.ts'

/** Not spec: the longest that one request waits. A client asks again at once. */
const maxTimeoutMs = 120_000
/** Not spec: events of one timeline. */
const maxTimeline = 100

// Bounds of what one request may ask for. MSC4186 knows the first; the others are ours, far beyond
// what clients ask for.
const maxLists = 100
const maxSubscriptions = 1000
const maxRequired = 200
const maxRanges = 20
const maxNamed = 200
const maxName = 64

const Name = t.String({ maxLength: 255 })
const Names = t.Array(Name, { maxItems: maxNamed })
const Types = t.Array(t.Union([Name, t.Null()]), { maxItems: maxNamed })

/** Clients of MSC4186 say null for what they do not say. */
const maybe = <T extends Parameters<typeof t.Union>[0][number]>(schema: T) =>
  t.Optional(t.Union([schema, t.Null()]))

const roomConfig = {
  required_state: t.Array(t.Tuple([Name, Name]), { maxItems: maxRequired }),
  timeline_limit: t.Integer({ minimum: 0, maximum: 1000 }),
}

const Filtering = open({
  is_dm: maybe(t.Boolean()),
  is_encrypted: maybe(t.Boolean()),
  is_invite: maybe(t.Boolean()),
  room_types: maybe(Types),
  not_room_types: maybe(Types),
  room_name_like: maybe(Name),
  tags: maybe(Names),
  not_tags: maybe(Names),
  spaces: maybe(Names),
})

const List = open({
  ...roomConfig,
  ranges: maybe(
    t.Array(t.Tuple([t.Integer({ minimum: 0 }), t.Integer({ minimum: 0 })]), {
      maxItems: maxRanges,
    }),
  ),
  slow_get_all_rooms: maybe(t.Boolean()),
  filters: maybe(Filtering),
})

const Scoped = open({
  enabled: maybe(t.Boolean()),
  lists: maybe(t.Array(t.String({ maxLength: maxName }), { maxItems: maxLists })),
  rooms: maybe(t.Array(Name, { maxItems: maxSubscriptions })),
})

const ExtensionRequests = open({
  to_device: maybe(
    open({
      enabled: maybe(t.Boolean()),
      since: maybe(t.String({ pattern: '^[0-9]{1,15}$' })),
      limit: t.Optional(t.Integer({ minimum: 0 })),
    }),
  ),
  e2ee: maybe(open({ enabled: maybe(t.Boolean()) })),
  account_data: maybe(Scoped),
  receipts: maybe(Scoped),
  typing: maybe(Scoped),
})

/** MSC4186, by the name and in the form in which clients use it today. */
export const slidingSync = op({
  id: 'slidingSync',
  method: 'POST',
  path: '/_matrix/client/unstable/org.matrix.simplified_msc3575/sync',
  auth: 'user',
  // As /sync; it only reads, whatever its method.
  admits: ['guest', 'suspended'],
  query: open({
    pos: t.Optional(t.String({ maxLength: 100 })),
    timeout: t.Optional(t.Integer({ minimum: 0 })),
    set_presence: t.Optional(
      t.Union([t.Literal('offline'), t.Literal('online'), t.Literal('unavailable')]),
    ),
  }),
  body: open({
    conn_id: maybe(t.String({ maxLength: maxName })),
    lists: maybe(record(List, { maxProperties: maxLists })),
    room_subscriptions: maybe(record(open(roomConfig), { maxProperties: maxSubscriptions })),
    extensions: maybe(ExtensionRequests),
  }),
  response: open({
    pos: t.String(),
    lists: record(open({ count: t.Integer() })),
    rooms: Content,
    extensions: Content,
  }),

  async run({ who, query, body, request }, ctx) {
    // Spec: application-service-api/#using-sync-and-events
    if (who.appservice && !request.query.has('user_id'))
      throw forbidden("An application service names the user whose events it wants: 'user_id'")
    const { userId, deviceId = '' } = who
    const lists = new Map<string, ListRequest>()
    for (const [name, list] of Object.entries(body.lists ?? {})) {
      if (name.length > maxName) throw invalidParam('The name of a list has 64 characters at most')
      lists.set(name, listOf(list, userId))
    }
    const subscriptions = new Map<string, RoomConfig>()
    for (const [roomId, config] of Object.entries(body.room_subscriptions ?? {}))
      subscriptions.set(roomId, configOf(config, userId))
    // Whoever waits is there.
    const end = ctx.presence?.begin(userId, deviceId, query.set_presence)
    try {
      return await answerSync(
        ctx,
        {
          userId,
          deviceId,
          connId: body.conn_id ?? '',
          pos: query.pos,
          lists,
          subscriptions,
          extensions: extensionsOf(body.extensions ?? {}),
        },
        request.signal,
        Math.min(query.timeout ?? 0, maxTimeoutMs),
      )
    } finally {
      end?.()
    }
  },
})

const configOf = (
  config: { required_state: [string, string][]; timeline_limit: number },
  userId: string,
): RoomConfig => ({
  limit: Math.min(config.timeline_limit, maxTimeline),
  required: RequiredState.parse(config.required_state, userId),
})

function listOf(list: Static<typeof List>, userId: string): ListRequest {
  const all = list.slow_get_all_rooms === true || !list.ranges
  return {
    config: configOf(list, userId),
    ranges: all ? undefined : list.ranges!,
    filters: filtersOf(list.filters ?? {}),
  }
}

const setOf = <T>(list: readonly T[] | null | undefined) => (list ? new Set(list) : undefined)

const filtersOf = (filters: Static<typeof Filtering>): Filters => ({
  isDm: filters.is_dm ?? undefined,
  isEncrypted: filters.is_encrypted ?? undefined,
  isInvite: filters.is_invite ?? undefined,
  roomTypes: setOf(filters.room_types),
  notRoomTypes: setOf(filters.not_room_types),
  nameLike: filters.room_name_like?.toLowerCase(),
  tags: setOf(filters.tags),
  notTags: setOf(filters.not_tags),
  spaces: filters.spaces ?? undefined,
})

function extensionsOf(asked: Static<typeof ExtensionRequests>): Extensions {
  const { to_device: toDevice, e2ee } = asked
  return {
    toDevice: toDevice?.enabled
      ? { since: Number(toDevice.since ?? 0), limit: toDevice.limit ?? maxTimeline }
      : undefined,
    e2ee: e2ee?.enabled ? true : undefined,
    accountData: scopeOf(asked.account_data),
    receipts: scopeOf(asked.receipts),
    typing: scopeOf(asked.typing),
  }
}

/** MSC3959: `*` stands for all, and so does saying nothing. */
function scopeOf(asked: Static<typeof Scoped> | null | undefined): Scope | undefined {
  if (!asked?.enabled) return undefined
  const setOrAll = (names: readonly string[] | null | undefined) =>
    !names || names.includes('*') ? undefined : new Set(names)
  return { lists: setOrAll(asked.lists), rooms: setOrAll(asked.rooms) }
}

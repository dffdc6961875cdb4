import type { Json, JsonObject } from '#core/json.ts'
import type { Origin } from './origin.ts'
import type { OriginRoom } from './origin-room.ts'

type World = { rooms: ReadonlyMap<string, OriginRoom>; asked: Map<string, number> }
type Answer = { status?: number; body: Json }

const nothing: Answer = { status: 404, body: { errcode: 'M_NOT_FOUND', error: 'Not known here' } }

const path =
  /^\/_matrix\/(?:key\/v2\/(?<keys>server)|federation\/v[12]\/(?<what>[a-z_]+(?:\/keys|\/devices)?)(?:\/(?<first>[^/]+))?(?:\/(?<second>[^/]+))?)/

/** What a server that is well answers: keys, joins, state, events that are missing. */
export async function answerOf(
  request: globalThis.Request,
  origin: Origin,
  { rooms, asked }: World,
): Promise<Answer> {
  const url = new URL(request.url)
  const { keys, what = '', first = '', second = '' } = path.exec(url.pathname)?.groups ?? {}
  const name = keys ?? what
  asked.set(name, (asked.get(name) ?? 0) + 1)
  if (keys !== undefined) return { body: origin.keyDocument() }
  if (what === 'send') {
    await request.arrayBuffer()
    return { body: { pdus: {} } }
  }
  if (what === 'version') return { body: { server: { name: 'origins', version: '1' } } }
  if (what === 'event') return eventOf(decodeURIComponent(first), origin, rooms)
  const room = rooms.get(decodeURIComponent(first))
  if (!room) return nothing
  const body = request.method === 'GET' ? {} : ((await request.json()) as JsonObject)
  return ofRoom(what, room, { url, body, second: decodeURIComponent(second), origin })
}

function ofRoom(
  what: string,
  room: OriginRoom,
  { url, body, second, origin }: { url: URL; body: JsonObject; second: string; origin: Origin },
): Answer {
  const before = url.searchParams.get('event_id') ?? undefined
  const limit = Number(url.searchParams.get('limit') ?? body['limit'] ?? 10)
  switch (what) {
    case 'make_join':
      return { body: { room_version: room.made.version.id, event: room.template(second) } }
    case 'send_join':
      return join(room, body, origin)
    case 'state':
    case 'state_ids':
      return { body: stateOf(room, before, what === 'state_ids') }
    case 'event_auth': {
      const event = room.made.events.get(second)?.event
      return { body: { auth_chain: event ? pdus(room.authChain([event])) : [] } }
    }
    case 'get_missing_events': {
      const stop = new Set(body['earliest_events'] as string[])
      const latest = body['latest_events'] as string[]
      const found = room.back(latest, stop, limit + latest.length)
      const events = found.filter(({ event }) => !latest.includes(event.eventId)).slice(0, limit)
      return { body: { events: events.map(({ event }) => event.pdu).reverse() } }
    }
    case 'backfill': {
      const found = room.back(url.searchParams.getAll('v'), new Set(), Math.min(limit, 100))
      const events = found.map(({ event }) => event.pdu)
      return { body: { origin: origin.name, origin_server_ts: Date.now(), pdus: events } }
    }
    default:
      return nothing
  }
}

function join(room: OriginRoom, body: JsonObject, origin: Origin): Answer {
  const state = room.state()
  const event = room.take(body)
  if (typeof event === 'string')
    return { status: 400, body: { errcode: 'M_BAD_JSON', error: event } }
  return {
    body: {
      origin: origin.name,
      state: pdus(state),
      auth_chain: pdus(room.authChain([...state, event])),
      event: event.pdu,
      members_omitted: false,
      servers_in_room: room.speakers.map(({ name }) => name),
    },
  }
}

function stateOf(room: OriginRoom, before: string | undefined, isIds: boolean): JsonObject {
  const state = room.state(before)
  const chain = room.authChain(state)
  return isIds
    ? {
        pdu_ids: state.map(({ eventId }) => eventId),
        auth_chain_ids: chain.map(({ eventId }) => eventId),
      }
    : { pdus: pdus(state), auth_chain: pdus(chain) }
}

function eventOf(eventId: string, origin: Origin, rooms: ReadonlyMap<string, OriginRoom>): Answer {
  for (const { made } of rooms.values()) {
    const event = made.events.get(eventId)?.event
    if (event)
      return { body: { origin: origin.name, origin_server_ts: Date.now(), pdus: [event.pdu] } }
  }
  return nothing
}

const pdus = (events: Iterable<{ pdu: JsonObject }>) => Array.from(events, ({ pdu }) => pdu)

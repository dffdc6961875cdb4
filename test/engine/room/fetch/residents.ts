import { parseJson } from '#core/canonical-json.ts'
import { signEvent } from '#core/event/build.ts'
import { parsePdu } from '#core/event/check.ts'
import type { RoomEvent } from '#core/event/pdu.ts'
import type { Json, JsonObject } from '#core/json.ts'
import type {
  Federation,
  KnownKey,
  OutgoingAnswer,
  OutgoingRequest,
  WantedKey,
} from '#engine/worker/protocol.ts'
import type { RemoteRoom, RemoteServer } from '#test/engine/room/fetch/remote-room.ts'

export type Answer = { status: number; body: Json }

/** What was asked: the parts of the path behind the version, decoded, and the query. */
export type Question = {
  server: string
  name: string
  parts: string[]
  query: URLSearchParams
  body: JsonObject | undefined
}

/** A federation of made-up servers that are in made-up rooms, and say what is true of them. */
export class Residents implements Federation {
  readonly questions: Question[] = []
  readonly keyCalls: WantedKey[][] = []
  /** Changes an answer on its way; undefined is no answer, ever. */
  lie: (question: Question, answer: Answer) => Answer | undefined = (_, answer) => answer
  /** Servers whose keys cannot be had. */
  readonly keyless = new Set<string>()
  readonly #servers: ReadonlyMap<string, RemoteServer>
  readonly #rooms: readonly RemoteRoom[]

  constructor(servers: readonly RemoteServer[], rooms: readonly RemoteRoom[]) {
    this.#servers = new Map(servers.map((server) => [server.name, server]))
    this.#rooms = rooms
  }

  readonly call = ((method: string, ...args: unknown[]) =>
    method === 'keys'
      ? Promise.resolve(this.#keys(args[0] as WantedKey[]))
      : this.#request(args[0] as OutgoingRequest)) as Federation['call']

  asked(name: string): Question[] {
    return this.questions.filter((question) => question.name === name)
  }

  #keys(wanted: WantedKey[]): KnownKey[] {
    this.keyCalls.push(wanted)
    return wanted.flatMap(({ server, keyIds }) => {
      const key = this.keyless.has(server) ? undefined : this.#servers.get(server)?.key
      if (!key || !keyIds.includes(key.keyId)) return []
      const validUntilTs = Number.MAX_SAFE_INTEGER
      return [{ server, keyId: key.keyId, key: key.publicKey, validUntilTs }]
    })
  }

  async #request({ destination, uri, body }: OutgoingRequest): Promise<OutgoingAnswer> {
    const url = new URL(uri, 'https://peer.test')
    const [, , , , name, ...parts] = url.pathname.split('/')
    const question: Question = {
      server: destination,
      name: name!,
      parts: parts.map(decodeURIComponent),
      query: url.searchParams,
      body: body === undefined ? undefined : (parseJson(body) as JsonObject),
    }
    this.questions.push(question)
    const answer = this.lie(question, this.#answer(question))
    if (!answer) return new Promise(() => {})
    return { status: answer.status, body: JSON.stringify(answer.body) }
  }

  #answer(question: Question): Answer {
    const { server, name, parts } = question
    const resident = this.#servers.get(server)
    const event = this.#rooms.find(({ events }) => events.has(parts[0]!))
    const room = this.#rooms.find(({ roomId }) => roomId === parts[0]) ?? event
    if (!resident || !room || !room.servers.has(server)) return notFound
    switch (name) {
      case 'make_join':
        return makeJoin(room, question)
      case 'send_join':
        return sendJoin(room, resident, question)
      case 'make_leave':
        return ok({ room_version: room.version.id, event: room.template(parts[1]!, 'leave') })
      case 'send_leave':
        return ok({})
      case 'event':
        return ok({ pdus: [room.events.get(parts[0]!)!.pdu] })
      case 'event_auth':
        return ok({ auth_chain: pdus(room.authChain([room.events.get(parts[1]!)!])) })
      case 'state':
      case 'state_ids':
        return stateBefore(room, question)
      case 'get_missing_events':
        return missingEvents(room, question)
      case 'backfill':
        return backfill(room, question)
      default:
        return notFound
    }
  }
}

const notFound: Answer = { status: 404, body: { errcode: 'M_NOT_FOUND', error: 'Not found' } }
const ok = (body: JsonObject): Answer => ({ status: 200, body })
const pdus = (events: Iterable<RoomEvent>): JsonObject[] => [...events].map(({ pdu }) => pdu)

function makeJoin(room: RemoteRoom, { parts, query, server }: Question): Answer {
  const { id } = room.version
  if (!query.getAll('ver').includes(id))
    return {
      status: 400,
      body: { errcode: 'M_INCOMPATIBLE_ROOM_VERSION', error: 'No', room_version: id },
    }
  const rule = room.state('m.room.join_rules', '')?.content['join_rule']
  const authorised = rule === 'restricted' && {
    join_authorised_via_users_server: room.servers.get(server)!.user('creator'),
  }
  const event = room.template(parts[1]!, 'join', authorised || {})
  return ok({ room_version: id, event })
}

function sendJoin(room: RemoteRoom, resident: RemoteServer, { body }: Question): Answer {
  const parsed = parsePdu(room.version, body)
  if ('refused' in parsed) return { status: 400, body: { errcode: 'M_BAD_JSON', error: '' } }
  const state = room.currentState()
  return ok({
    origin: resident.name,
    state: pdus(state),
    auth_chain: pdus(room.authChain([...state, parsed.ok])),
    event: signEvent(room.version, parsed.ok.pdu, resident.signing),
  })
}

function stateBefore(room: RemoteRoom, { name, query }: Question): Answer {
  const state = room.stateBefore(query.get('event_id')!)
  const chain = room.authChain(state)
  return name === 'state'
    ? ok({ pdus: pdus(state), auth_chain: pdus(chain) })
    : ok({
        pdu_ids: state.map(({ eventId }) => eventId),
        auth_chain_ids: chain.map(({ eventId }) => eventId),
      })
}

function missingEvents(room: RemoteRoom, { body }: Question): Answer {
  const { earliest_events: earliest, latest_events: latest, limit } = body!
  const found = ancestors(room, latest as string[], limit as number, new Set(earliest as string[]))
  return ok({ events: pdus(found.toReversed()) })
}

function backfill(room: RemoteRoom, { query }: Question): Answer {
  const limit = Number(query.get('limit'))
  const from = query.getAll('v').flatMap((id) => room.events.get(id) ?? [])
  const before = ancestors(room, query.getAll('v'), limit, new Set())
  return ok({ pdus: pdus([...from, ...before].slice(0, limit)) })
}

/** Breadth first, newest first. */
function ancestors(
  room: RemoteRoom,
  ids: readonly string[],
  limit: number,
  stop: ReadonlySet<string>,
): RoomEvent[] {
  const found = new Map<string, RoomEvent>()
  const open = ids.flatMap((id) => room.events.get(id) ?? [])
  for (let event = open.shift(); event && found.size < limit; event = open.shift())
    for (const id of event.prevEvents) {
      const prev = room.events.get(id)
      if (!prev || stop.has(id) || found.has(id)) continue
      found.set(id, prev)
      open.push(prev)
    }
  return [...found.values()].slice(0, limit)
}

import type { RoomEvent } from '#core/event/pdu.ts'
import type { Json, JsonObject } from '#core/json.ts'
import type { OutgoingAnswer, OutgoingRequest } from '#engine/worker/protocol.ts'
import type { MadeUpRoom } from '#test/builders.ts'

/** What was asked: who, what, and with which words. */
export type Question = {
  server: string
  name: string
  parts: string[]
  query: URLSearchParams
  body: JsonObject
}

type Reply = { status: number; body: Json }
const notFound: Reply = { status: 404, body: { errcode: 'M_NOT_FOUND', error: 'Not found' } }
const ok = (body: JsonObject): Reply => ({ status: 200, body })

/** Other servers that tell of a room what is true of it, unless they lie. */
export class Told {
  readonly questions: Question[] = []
  readonly #room: MadeUpRoom
  /** The state after each event, as far back as the room goes. */
  readonly #after = new Map<string, ReadonlyMap<string, RoomEvent>>()
  readonly #base: ReadonlyMap<string, RoomEvent>
  /** Changes an answer; undefined is no answer, ever. */
  lie: (question: Question, reply: Reply) => Reply | undefined = (_, reply) => reply

  /** Before anything is added to the room. */
  constructor(room: MadeUpRoom) {
    this.#room = room
    this.#base = new Map(room.state)
  }

  asked(name: string): Question[] {
    return this.questions.filter((question) => question.name === name)
  }

  readonly answer = ({ destination, uri, body }: OutgoingRequest): Promise<OutgoingAnswer> => {
    const url = new URL(uri, 'https://peer.test')
    const [, , , , name, ...parts] = url.pathname.split('/')
    const question: Question = {
      server: destination,
      name: name!,
      parts: parts.map(decodeURIComponent),
      query: url.searchParams,
      body: body === undefined ? {} : (JSON.parse(body) as JsonObject),
    }
    this.questions.push(question)
    const reply = this.lie(question, this.#reply(question))
    if (!reply) return new Promise(() => {})
    return Promise.resolve({ status: reply.status, body: JSON.stringify(reply.body) })
  }

  #reply({ name, parts, query, body }: Question): Reply {
    const { events, roomId } = this.#room
    if (name === 'event') {
      const event = events.get(parts[0]!)?.event
      return event ? ok({ pdus: [event.pdu] }) : notFound
    }
    if (parts[0] !== roomId) return notFound
    switch (name) {
      case 'get_missing_events': {
        const stop = new Set(body['earliest_events'] as string[])
        const found = this.#ancestors(body['latest_events'] as string[], stop)
        return ok({ events: pdus(found.slice(0, body['limit'] as number).toReversed()) })
      }
      case 'backfill': {
        const from = query.getAll('v').flatMap((id) => events.get(id)?.event ?? [])
        const all = [...from, ...this.#ancestors(query.getAll('v'), new Set())]
        return ok({ pdus: pdus(all.slice(0, Number(query.get('limit')))) })
      }
      case 'state_ids':
      case 'state': {
        const state = this.stateBefore(query.get('event_id')!)
        const chain = this.#authChain(state)
        return name === 'state'
          ? ok({ pdus: pdus(state), auth_chain: pdus(chain) })
          : ok({ pdu_ids: ids(state), auth_chain_ids: ids(chain) })
      }
      case 'event_auth': {
        const event = events.get(parts[1]!)?.event
        return event ? ok({ auth_chain: pdus(this.#authChain([event])) }) : notFound
      }
      default:
        return notFound
    }
  }

  stateBefore(eventId: string): RoomEvent[] {
    for (const { event } of this.#room.events.values()) {
      if (this.#after.has(event.eventId)) continue
      const state = new Map<string, RoomEvent>(
        event.prevEvents.flatMap((id) => [...(this.#after.get(id) ?? this.#base)]),
      )
      if (event.stateKey !== undefined) state.set(`${event.type} ${event.stateKey}`, event)
      this.#after.set(event.eventId, state)
    }
    const { prevEvents } = this.#room.events.get(eventId)!.event
    const all = prevEvents.flatMap((id) => [...(this.#after.get(id) ?? this.#base)])
    return [...new Map(all).values()]
  }

  #authChain(of: readonly RoomEvent[]): RoomEvent[] {
    const chain = new Map<string, RoomEvent>()
    const open = [...of]
    for (let event = open.pop(); event; event = open.pop())
      for (const id of event.authEvents) {
        const auth = this.#room.events.get(id)?.event
        if (!auth || chain.has(id)) continue
        chain.set(id, auth)
        open.push(auth)
      }
    return [...chain.values()]
  }

  /** Newest first. */
  #ancestors(of: readonly string[], stop: ReadonlySet<string>): RoomEvent[] {
    const found = new Map<string, RoomEvent>()
    const open = [...of]
    for (let id = open.shift(); id !== undefined; id = open.shift())
      for (const prev of this.#room.events.get(id)?.event.prevEvents ?? []) {
        const event = this.#room.events.get(prev)?.event
        if (!event || stop.has(prev) || found.has(prev)) continue
        found.set(prev, event)
        open.push(prev)
      }
    return [...found.values()]
  }
}

const pdus = (events: readonly RoomEvent[]): JsonObject[] => events.map(({ pdu }) => pdu)
const ids = (events: readonly RoomEvent[]): string[] => events.map(({ eventId }) => eventId)

import { randomBytes } from 'node:crypto'
import { parseJson } from '#core/canonical-json.ts'
import { selectAuthEvents } from '#core/event/auth-events.ts'
import { type ProtoEvent, buildEvent, sealEvent } from '#core/event/build.ts'
import { parsePdu } from '#core/event/check.ts'
import { referenceHash } from '#core/event/hash.ts'
import type { RoomEvent } from '#core/event/pdu.ts'
import type { Json, JsonObject } from '#core/json.ts'
import { type RoomVersion, roomVersions } from '#core/room-version.ts'
import { buildKeyDocument } from '#core/server-keys.ts'
import { type SigningKey, makeSigningKey } from '#core/signing.ts'
import { authorizationHeader } from '#core/x-matrix.ts'
import type { Certificates } from '#test/certificates.ts'

type Answer = { status: number; body: JsonObject }
type Handler = (request: Request, url: URL) => Answer | Promise<Answer> | undefined

/**
 * A made-up homeserver on loopback TLS: it publishes keys, joins rooms, signs events and sends
 * transactions, and answers what a test tells it to.
 */
export class Peer {
  readonly serverName: string
  readonly key: SigningKey
  readonly port: number
  /** Every transaction that reached it. */
  readonly received: { txnId: string; pdus: JsonObject[]; edus: JsonObject[] }[] = []
  /** Asked before the peer's own answers; undefined leaves it to them. */
  handler: Handler = () => undefined
  readonly #server: Bun.Server<undefined>

  constructor(serverName: string, certificates: Certificates) {
    this.serverName = serverName
    this.key = makeSigningKey(randomBytes(32))
    this.#server = Bun.serve({
      hostname: '127.0.0.1',
      port: 0,
      idleTimeout: 120,
      tls: { cert: Bun.file(certificates.certificate), key: Bun.file(certificates.key) },
      fetch: (request) => this.#answer(request),
    })
    this.port = this.#server.port!
  }

  /** Where a static destination must lead. */
  get address(): string {
    return `127.0.0.1:${this.port}`
  }

  user(name: string): string {
    return `@${name}:${this.serverName}`
  }

  async stop(): Promise<void> {
    await this.#server.stop(true)
  }

  /** A signed request to another server, which listens at `base`. */
  async ask(
    base: string,
    destination: string,
    method: 'GET' | 'PUT' | 'POST',
    uri: string,
    content?: Json,
  ): Promise<{ status: number; body: JsonObject }> {
    const response = await fetch(base + uri, {
      ...this.signed(destination, method, uri, content),
      signal: AbortSignal.timeout(60_000),
    })
    return { status: response.status, body: parseJson(await response.text()) as JsonObject }
  }

  /** What makes a request one of ours. */
  signed(destination: string, method: string, uri: string, content?: Json): RequestInit {
    const { serverName: origin } = this
    return {
      method,
      headers: {
        authorization: authorizationHeader({ method, uri, origin, destination, content }, this.key),
        'content-type': 'application/json',
      },
      ...(content !== undefined && { body: JSON.stringify(content) }),
    }
  }

  /** Joins a user of ours to a room of the server at `base`; what comes back can speak in it. */
  async join(base: string, destination: string, roomId: string, userId: string): Promise<PeerRoom> {
    const path = `${encodeURIComponent(roomId)}/${encodeURIComponent(userId)}`
    const versions = [...roomVersions.keys()].map((version) => `ver=${version}`).join('&')
    const made = await this.ask(
      base,
      destination,
      'GET',
      `/_matrix/federation/v1/make_join/${path}?${versions}`,
    )
    if (made.status !== 200) throw new Error(`make_join: ${JSON.stringify(made)}`)
    const version = roomVersions.get(made.body['room_version'] as string)!
    const sealed = sealEvent(version, made.body['event'] as JsonObject, this.#signing)
    if (sealed.outcome !== 'built') throw new Error(sealed.reason)
    const { event } = sealed
    const sent = await this.ask(
      base,
      destination,
      'PUT',
      `/_matrix/federation/v2/send_join/${encodeURIComponent(roomId)}/${encodeURIComponent(event.eventId)}`,
      event.pdu,
    )
    if (sent.status !== 200) throw new Error(`send_join: ${JSON.stringify(sent)}`)
    const state = (sent.body['state'] as JsonObject[]).map((json) => readPdu(version, json, roomId))
    return new PeerRoom(this, version, roomId, [...state, event], event)
  }

  get #signing() {
    return { serverName: this.serverName, key: this.key }
  }

  build(version: RoomVersion, proto: ProtoEvent): RoomEvent {
    const built = buildEvent(version, proto, this.#signing)
    if (built.outcome !== 'built') throw new Error(built.reason)
    return built.event
  }

  async #answer(request: Request): Promise<Response> {
    const url = new URL(request.url)
    const answer = (await this.handler(request, url)) ?? (await this.#usual(request, url))
    return Response.json(answer.body, { status: answer.status })
  }

  async #usual(request: Request, url: URL): Promise<Answer> {
    if (url.pathname === '/_matrix/key/v2/server')
      return {
        status: 200,
        body: buildKeyDocument(this.serverName, [this.key], [], Date.now() + 86_400_000),
      }
    const txnId = /^\/_matrix\/federation\/v1\/send\/(.+)$/.exec(url.pathname)?.[1]
    if (txnId !== undefined && request.method === 'PUT') {
      const body = (await request.json()) as { pdus?: JsonObject[]; edus?: JsonObject[] }
      this.received.push({ txnId, pdus: body.pdus ?? [], edus: body.edus ?? [] })
      return { status: 200, body: { pdus: {} } }
    }
    return { status: 404, body: { errcode: 'M_UNRECOGNIZED', error: 'Unrecognized request' } }
  }
}

/** A room as a peer knows it: enough to build the next event of its own users. */
export class PeerRoom {
  readonly #peer: Peer
  readonly #state: Map<string, RoomEvent>
  readonly version: RoomVersion
  readonly roomId: string
  #tip: RoomEvent
  #count = 0

  constructor(
    peer: Peer,
    version: RoomVersion,
    roomId: string,
    state: readonly RoomEvent[],
    tip: RoomEvent,
  ) {
    this.#peer = peer
    this.version = version
    this.roomId = roomId
    this.#state = new Map(state.map((event) => [`${event.type}|${event.stateKey}`, event]))
    this.#tip = tip
  }

  /** The last event, which the next one cites. */
  get tip(): RoomEvent {
    return this.#tip
  }

  /** The room as it is now, to go on from there in another way. */
  copy(): PeerRoom {
    const { version, roomId } = this
    return new PeerRoom(this.#peer, version, roomId, [...this.#state.values()], this.#tip)
  }

  /** The next event on top of the last one, or of what `prevEvents` names. */
  next(
    sender: string,
    type: string,
    content: JsonObject,
    more: { stateKey?: string; prevEvents?: readonly string[] } = {},
  ): RoomEvent {
    const subject = { version: this.version, type, sender, stateKey: more.stateKey, content }
    const auth = selectAuthEvents(subject, (eventType, key) =>
      this.#state.get(`${eventType}|${key}`),
    )
    const event = this.#peer.build(this.version, {
      ...subject,
      roomId: this.roomId,
      prevEvents: more.prevEvents ?? [this.#tip.eventId],
      authEvents: auth.map((each) => each.eventId),
      depth: this.#tip.depth + 1,
      originServerTs: Date.now(),
      named:
        this.version.eventFormat === 'named'
          ? {
              eventId: `$${++this.#count}-${this.#tip.depth}:${this.#peer.serverName}`,
              hashes: new Map(
                [...auth, this.#tip].map((each) => [
                  each.eventId,
                  referenceHash(this.version, each.pdu)!,
                ]),
              ),
            }
          : undefined,
    })
    if (!more.prevEvents) this.#tip = event
    if (more.stateKey !== undefined) this.#state.set(`${type}|${more.stateKey}`, event)
    return event
  }

  say(sender: string, body: string): RoomEvent {
    return this.next(sender, 'm.room.message', { msgtype: 'm.text', body })
  }
}

function readPdu(version: RoomVersion, json: JsonObject, roomId: string): RoomEvent {
  const parsed = parsePdu(version, json, { roomId, anyListLength: true })
  if ('refused' in parsed) throw new Error(parsed.refused)
  return parsed.ok
}

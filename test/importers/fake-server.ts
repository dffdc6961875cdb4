import { createHash } from 'node:crypto'
import type { OutPerson, OutRecord } from '#importers/server/import-api.ts'
import type { ReadEvent } from '#importers/verify/room-pages.ts'

type Session = {
  session_id: string
  room_id: string
  source: string
  mode: string
  state: 'open' | 'committed' | 'aborted' | 'undone'
  next_batch: number
  accepted: number
  duplicates: number
  records: OutRecord[]
}
type Forced = Reply | 'lost' | undefined
type Reply = { status: number; body: unknown }
type Room = { events: ReadEvent[]; creation: unknown; members?: Map<string, unknown> }

const reply = (body: unknown, status = 200): Reply => ({ status, body })
const refusal = (status: number, errcode: string, error: string, more = {}): Reply =>
  reply({ errcode, error, ...more }, status)

/** What the importer asks of a server, in memory and with faults on demand. */
export class FakeServer implements AsyncDisposable {
  readonly url: string
  readonly rooms = new Map<string, Room>()
  readonly sessions = new Map<string, Session>()
  readonly people = new Map<string, OutPerson>()
  readonly uploads: { name: string | null; type: string | null; bytes: number }[] = []
  /** What rooms were asked for. */
  readonly wishes: { is_direct?: boolean }[] = []
  /** Paths of all requests, with their method. */
  readonly asked: string[] = []
  /** Answers instead of the server, if it gives an answer; `lost`: the server does it, and says nothing. */
  onRequest: ((method: string, path: string) => Forced | Promise<Forced>) | undefined
  readonly #http: Bun.Server<undefined>

  constructor() {
    this.#http = Bun.serve({
      port: 0,
      hostname: '127.0.0.1',
      fetch: (request) => this.#fetch(request),
    })
    this.url = `http://127.0.0.1:${this.#http.port}`
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#http.stop(true)
  }

  /** What is published in a room, as text, in order. */
  texts(roomId: string): string[] {
    return this.rooms.get(roomId)!.events.map(({ content }) => content['body'] as string)
  }

  async #fetch(request: Request): Promise<Response> {
    const url = new URL(request.url)
    const path = decodeURIComponent(url.pathname)
    this.asked.push(`${request.method} ${path}`)
    const forced = await this.onRequest?.(request.method, path)
    if (forced && forced !== 'lost') return respond(forced)
    const body = await request.text()
    const answer = this.#answer(request, url, path, body)
    return respond(forced === 'lost' ? refusal(502, 'M_UNKNOWN', 'Bad gateway') : answer)
  }

  #answer(request: Request, { searchParams: query }: URL, path: string, body: string): Reply {
    const [, session, step] =
      /^\/_laneway\/import\/v1\/sessions\/([^/]+)(?:\/(.+))?$/.exec(path) ?? []
    if (session !== undefined) return this.#session(session, step, body)
    if (path === '/_laneway/import/v1/sessions')
      return request.method === 'POST' ? this.#open(body) : reply({ sessions: [] })
    const [, roomId, part] = /^\/_matrix\/client\/v\d\/rooms\/([^/]+)\/(.+)$/.exec(path) ?? []
    const [, member] = /^state\/m\.room\.member\/(.+)$/.exec(part ?? '') ?? []
    if (member !== undefined) return this.#member(request.method, roomId!, member, body)
    if (roomId !== undefined) return this.#read(roomId, part!, query)
    switch (path) {
      case '/_matrix/client/v3/account/whoami':
        return reply({ user_id: '@admin:home.test' })
      case '/_matrix/client/v1/media/config':
        return reply({ 'm.upload.size': 1000 })
      case '/_matrix/client/v3/joined_rooms':
        return reply({ joined_rooms: [...this.rooms.keys()] })
      case '/_matrix/client/v3/createRoom': {
        const id = `!room${this.rooms.size}:home.test`
        const wish = JSON.parse(body) as { creation_content: unknown; is_direct?: boolean }
        this.rooms.set(id, { events: [], creation: wish.creation_content })
        this.wishes.push(wish)
        return reply({ room_id: id })
      }
      case '/_matrix/media/v3/upload': {
        const type = request.headers.get('content-type')
        this.uploads.push({ name: query.get('filename'), type, bytes: body.length })
        return reply({ content_uri: `mxc://home.test/${this.uploads.length}` })
      }
    }
    if (path.startsWith('/_matrix/client/v1/media/download/')) return reply('')
    return refusal(404, 'M_UNRECOGNIZED', 'Not here')
  }

  #member(method: string, roomId: string, user: string, body: string): Reply {
    const room = this.rooms.get(roomId)
    if (!room) return refusal(404, 'M_NOT_FOUND', 'The room is not known')
    room.members ??= new Map()
    if (method === 'PUT') {
      if (user.startsWith('@refused')) return refusal(403, 'M_FORBIDDEN', 'Not them')
      room.members.set(user, JSON.parse(body))
      return reply({ event_id: '$member' })
    }
    const found = room.members.get(user)
    return found === undefined ? refusal(404, 'M_NOT_FOUND', 'Not in it') : reply(found)
  }

  #open(body: string): Reply {
    const wish = JSON.parse(body) as Pick<Session, 'room_id' | 'source' | 'mode'> & {
      dry_run?: boolean
    }
    const room = this.rooms.get(wish.room_id)
    if (!room) return refusal(404, 'M_NOT_FOUND', 'The room is not known')
    if (wish.mode === 'fresh' && room.events.length > 0)
      return refusal(409, 'M_CONFLICT', 'There are messages in the room already')
    const open = [...this.sessions.values()].find(
      (each) =>
        each.room_id === wish.room_id && each.source === wish.source && each.state === 'open',
    )
    const session = open ?? {
      session_id: `s${this.sessions.size}`,
      room_id: wish.room_id,
      source: wish.source,
      mode: wish.mode,
      state: 'open' as const,
      next_batch: 0,
      accepted: 0,
      duplicates: 0,
      records: [],
    }
    if (!wish.dry_run) this.sessions.set(session.session_id, session)
    return reply({ session_id: session.session_id, mode: wish.mode, plan: {}, warnings: [] })
  }

  #session(id: string, step: string | undefined, body: string): Reply {
    const session = this.sessions.get(id)
    if (!session) return refusal(404, 'M_NOT_FOUND', 'There is no such import')
    if (step === undefined)
      return reply({
        ...session,
        records: undefined,
        waiting: 0,
        failed: 0,
        first_ts: null,
        last_ts: null,
      })
    if (step.startsWith('batches/')) return this.#batch(session, Number(step.slice(8)), body)
    if (step === 'events') {
      const { src_ids: ids } = JSON.parse(body) as { src_ids: string[] }
      return reply({
        events: Object.fromEntries(ids.map((each) => [each, eventId(session, each)])),
      })
    }
    const { events } = this.rooms.get(session.room_id)!
    if (step === 'commit' && session.state === 'open') {
      session.state = 'committed'
      const added = session.records.map((record) => eventOf(session, record))
      const first = Math.min(...added.map(({ origin_server_ts: ts }) => ts))
      // In one piece, where its first time belongs.
      const at = events.findIndex(({ origin_server_ts: ts }) => ts > first)
      const isBetween = session.mode === 'insert' && at >= 0
      events.splice(isBetween ? at : events.length, 0, ...added)
    } else if (step === 'undo') {
      session.state = 'undone'
      const gone = new Set(session.records.map(({ src_id: name }) => eventId(session, name)))
      events.splice(0, events.length, ...events.filter((each) => !gone.has(each.event_id)))
    } else if (step === 'abort') session.state = 'aborted'
    return reply({ session_id: id })
  }

  #batch(session: Session, n: number, body: string): Reply {
    if (session.state !== 'open') return refusal(409, 'M_CONFLICT', 'The import takes no more')
    const told = {
      next_batch: session.next_batch,
      accepted: 0,
      duplicates: 0,
      waiting: 0,
      failed: [] as unknown[],
    }
    if (n < session.next_batch) return reply(told)
    if (n > session.next_batch) return refusal(409, 'M_CONFLICT', 'Too far', told)
    const known = new Set(
      [...this.sessions.values()]
        .filter(
          (each) => each.room_id === session.room_id && ['open', 'committed'].includes(each.state),
        )
        .flatMap((each) => each.records.map(({ src_id: name }) => name)),
    )
    for (const line of body.split('\n').filter(Boolean)) {
      const { person, record } = JSON.parse(line) as { person?: OutPerson; record?: OutRecord }
      if (person) this.people.set(person.user_id, person)
      if (!record) continue
      if (record.content['body'] === 'refuse me')
        told.failed.push({ src_id: record.src_id, errcode: 'M_FORBIDDEN', error: 'Not that' })
      else if (known.has(record.src_id)) told.duplicates++
      else {
        known.add(record.src_id)
        session.records.push(record)
        told.accepted++
      }
    }
    session.accepted += told.accepted
    session.duplicates += told.duplicates
    told.next_batch = ++session.next_batch
    return reply(told)
  }

  #read(roomId: string, part: string, query: URLSearchParams): Reply {
    const room = this.rooms.get(roomId)
    if (!room) return refusal(404, 'M_NOT_FOUND', 'The room is not known')
    const { events, creation } = room
    if (part === 'state/m.room.create') return reply(creation)
    if (part.startsWith('context/')) {
      const at = events.findIndex((each) => each.event_id === part.slice(8))
      return reply({ start: String(at), event: events[at], end: String(at + 1) })
    }
    const [, root] = /^relations\/([^/]+)\/m\.thread$/.exec(part) ?? []
    if (root !== undefined) {
      const isReply = ({ content }: ReadEvent) =>
        (content['m.relates_to'] as { event_id?: string; rel_type?: string } | undefined)
          ?.event_id === root
      return reply({ chunk: events.filter(isReply) })
    }
    if (part !== 'messages') return refusal(404, 'M_UNRECOGNIZED', 'Not here')
    const isForward = query.get('dir') === 'f'
    const from = Number(query.get('from') ?? (isForward ? 0 : events.length))
    const limit = Number(query.get('limit'))
    const to = isForward ? Math.min(from + limit, events.length) : Math.max(from - limit, 0)
    const chunk = isForward ? events.slice(from, to) : events.slice(to, from).toReversed()
    const isEnd = isForward ? to === events.length : to === 0
    return reply({ chunk, start: String(from), ...(!isEnd && { end: String(to) }) })
  }
}

const eventId = ({ room_id: roomId, source }: Session, srcId: string) =>
  `$${createHash('sha256').update(`${roomId} ${source} ${srcId}`).digest('base64url')}`

function eventOf(session: Session, record: OutRecord): ReadEvent {
  const { thread } = record.relates ?? {}
  return {
    event_id: eventId(session, record.src_id),
    type: record.type,
    sender: record.sender,
    origin_server_ts: record.ts,
    content: {
      ...record.content,
      ...(thread !== undefined && {
        'm.relates_to': { rel_type: 'm.thread', event_id: eventId(session, thread) },
      }),
    },
  }
}

const respond = ({ status, body }: Reply) => Response.json(body, { status })

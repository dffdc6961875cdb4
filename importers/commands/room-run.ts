import type { Problem } from '#importers/format.ts'
import { Mapper } from '#importers/matrix/records.ts'
import { srcIdOf } from '#importers/matrix/relations.ts'
import type { People } from '#importers/matrix/people.ts'
import type { PlannedRoom } from '#importers/plan/plan.ts'
import { grouped, type Progress, type Track } from '#importers/report/progress.ts'
import { Refused, type Server } from '#importers/server/client.ts'
import { type ImportApi, type Mode, type SessionState } from '#importers/server/import-api.ts'
import type { Uploader } from '#importers/server/media.ts'
import { createRoom, profileOf, roomIdOf } from '#importers/server/rooms.ts'
import type { Meta } from '#importers/state/database.ts'
import type { Ledger, RoomRow, Scope, Session } from '#importers/state/ledger.ts'
import type { Problems } from '#importers/state/problems.ts'
import { Stop } from '#importers/stop.ts'
import { type Batch, Batches, problemOf } from './batches.ts'
import { inviteMembers } from './invite.ts'
import type { Pace } from './pace.ts'

const mostPinned = 100
/** Each is a session, with an event of its own in the room. */
const mostStretches = 200

export type RoomParts = {
  server: Server
  api: ImportApi
  ledger: Ledger
  meta: Meta
  problems: Problems
  uploader: Uploader
  progress: Progress
  peopleOf(room: PlannedRoom): People
  pace: Pace
  total: Track
  /** The name under which the server keeps what came from this export. */
  source: string
  since: number
  until: number
  federate: boolean
  withMoves: boolean
  finish: AbortSignal
}

/** Sends one room of an export: what waits of it, in a session, which is published in the end. */
export class RoomRun {
  readonly #parts: RoomParts
  readonly #planned: PlannedRoom
  readonly #room: RoomRow
  readonly #people: People
  #stretches = 0

  constructor(parts: RoomParts, planned: PlannedRoom, room: RoomRow) {
    this.#parts = parts
    this.#planned = planned
    this.#room = room
    this.#people = parts.peopleOf(planned)
  }

  /** Sends all; a session that was broken off first, and then what is new since. */
  async run(): Promise<void> {
    for (;;) {
      const session = await this.#session()
      if (!session) return this.#invite()
      await this.#send(session)
      await this.#publish(session)
    }
  }

  async #session(): Promise<Session | undefined> {
    const { server, api, ledger, since, until, source, federate } = this.#parts
    const before = ledger.openSession(this.#room.number)
    if (before) {
      const { state, accepted } = await api.session(before.session_id)
      if (state === 'open') return before
      // Published, but the answer did not arrive; or dropped by somebody else.
      if (state === 'committed') ledger.committed(before, accepted)
      else ledger.dropped(before, state === 'aborted' ? 'aborted' : 'undone')
      return this.#session()
    }
    const all = { until_seq: ledger.lastSeq(), since, until }
    if (ledger.pending(this.#room.number, all) === 0) return undefined
    const roomId = await this.#target()
    const mode = this.#mode(roomId)
    const scope = this.#stretch(roomId, mode, all)
    const opened = await api.open({
      room_id: roomId,
      source,
      mode,
      ...(mode === 'insert' && { position: { by_time: true as const } }),
      ...(mode === 'archive' && { live_room_id: await roomIdOf(server, this.#planned.to) }),
      ...(federate && { federate }),
    })
    if (opened.session_id === undefined) throw new Error('The server opened no session')
    for (const warning of opened.warnings) this.#say(warning)
    return ledger.addSession({
      room: this.#room.number,
      room_id: roomId,
      session_id: opened.session_id,
      mode,
      ...scope,
      people: this.#people.mode,
      moves: this.#parts.withMoves ? 1 : 0,
      media: this.#parts.uploader.isOff ? 0 : 1,
    })
  }

  /** The mode of the plan; what comes later into a room that has its history goes where it belongs. */
  #mode(roomId: string): Mode {
    const { mode } = this.#planned
    const again = this.#parts.ledger
      .sessions()
      .some((each) => each.room_id === roomId && each.state === 'committed')
    return again && mode !== 'append' ? 'insert' : mode
  }

  /**
   * A session reads in one piece: what belongs to both sides of something that came before goes in several, each
   * where its times belong.
   */
  #stretch(roomId: string, mode: Mode, all: Scope): Scope {
    if (mode !== 'insert') return all
    const until = this.#parts.ledger.endOfStretch(this.#room.number, roomId, all)
    if (until === all.until || ++this.#stretches <= mostStretches) return { ...all, until }
    this.#say(
      'its times lie among what is in the room in too many places: the rest stands together',
    )
    return all
  }

  async #target(): Promise<string> {
    const { server, meta, ledger } = this.#parts
    const { roomId, number } = this.#room
    if (roomId !== null) return roomId
    const { to, mode, name, topic, visibility } = this.#planned
    if (mode === 'archive' && to === 'create')
      throw new Stop(`${this.#room.id}: an archive needs a room that it belongs to, in \`to\``)
    const isNew = to === 'create' || mode === 'archive'
    const title = name ?? this.#room.name ?? this.#room.id
    const found = isNew
      ? await createRoom(server, meta, {
          key: `${stateId(meta)}/${this.#room.id}`,
          name: mode === 'archive' ? `${title} (history)` : title,
          ...(topic && { topic }),
          visibility: visibility ?? 'private',
          isDirect: this.#room.type === 'direct',
        })
      : await roomIdOf(server, to)
    ledger.putRoomId(number, found)
    this.#room.roomId = found
    return found
  }

  async #send(session: Session): Promise<void> {
    const { api, ledger, progress, finish } = this.#parts
    const state = await api.session(session.session_id)
    const track = progress.begin(
      this.#planned.name ?? this.#room.id,
      ledger.pending(this.#room.number, session),
    )
    track.done = ledger.recordsBefore(session, state.next_batch)
    track.sample()
    const batches = new Batches(
      {
        ledger,
        session,
        mapper: this.#mapper(session.mode),
        uploader: this.#parts.uploader,
        problem: (problem) => this.#problem(problem),
        profile: (userId) => profileOf(this.#parts.server, userId),
      },
      state.next_batch,
    )
    let flying: Promise<void> | undefined
    try {
      for (let n = state.next_batch; ; n++) {
        const batch = await batches.next()
        await flying
        flying = undefined
        if (!batch) return
        await this.#parts.pace.take(batch.records.length, finish)
        if (finish.aborted)
          throw new Stop('Stopped between two batches; the same command goes on from here')
        ledger.putBatch(session, n, batch.last, batch.rows)
        ledger.introduce(
          session,
          n,
          batch.newcomers.map(({ person }) => person),
        )
        flying = this.#put(session, n, batch, track)
        // Failures are met where it is waited for.
        flying.catch(() => undefined)
      }
    } finally {
      await flying?.catch(() => undefined)
      progress.end(track)
    }
  }

  async #put(session: Session, n: number, batch: Batch, track: Track): Promise<void> {
    const { api, problems, total, uploader } = this.#parts
    const { records, people } = batch
    const answer = await api.put(session.session_id, n, { people, records })
    for (const failed of answer.failed) problems.add('send', problemOf(failed, batch.places))
    track.done += batch.rows
    total.done += batch.rows
    const media = uploader.files > 0 ? `media ${grouped(uploader.files)}  ` : ''
    const skipped = problems.skipped > 0 ? `${grouped(problems.skipped)} skipped` : ''
    track.note = total.note = (media + skipped).trim()
  }

  #mapper(mode: string): Mapper {
    const { ledger, uploader, withMoves } = this.#parts
    const rooms = new Map(ledger.rooms().map(({ id, roomId }) => [id, roomId ?? undefined]))
    return new Mapper({
      people: this.#people,
      roomId: (id) => rooms.get(id),
      media: (content) => uploader.get(content),
      withMentions: mode !== 'append',
      withMoves,
      problem: (problem) => this.#problem(problem),
    })
  }

  async #publish(session: Session): Promise<void> {
    const { api, ledger } = this.#parts
    const state = await api.session(session.session_id)
    const began = performance.now()
    const counts = await api.commit(session.session_id)
    const took = Math.round(performance.now() - began)
    tellWaiting(state, (text) => this.#say(text))
    ledger.committed(session, state.accepted)
    await this.#pin(session)
    this.#say(
      `published ${grouped(state.accepted)} events into ${session.room_id} (${session.session_id})`,
      { session_id: session.session_id, counts, commit_ms: took },
    )
  }

  /** Pins what was pinned, in rooms that hold nothing but the history. */
  async #pin(session: Session): Promise<void> {
    const { server, api, ledger } = this.#parts
    if (session.mode !== 'fresh' && session.mode !== 'archive') return
    const ids = ledger.pinned(session, mostPinned)
    if (ids.length === 0) return
    const srcIds = ids.map((id) => srcIdOf(this.#room.id, id))
    const events = await api.events(session.session_id, srcIds)
    const pinned = srcIds.flatMap((id) => events.get(id) ?? [])
    try {
      await server.put(
        `/_matrix/client/v3/rooms/${encodeURIComponent(session.room_id)}/state/m.room.pinned_events`,
        { pinned },
      )
    } catch (error) {
      if (!(error instanceof Refused)) throw error
      this.#problem({
        class: 'forbidden',
        reason: `What was pinned could not be: ${error.message}`,
        place: { file: '' },
        room: this.#room.id,
        done: 'degraded',
      })
    }
  }

  /** Lets those in whose room it was, once: who leaves is not called back by a later export. */
  async #invite(): Promise<void> {
    const { server, meta } = this.#parts
    const { number, roomId, id: room, type } = this.#room
    const { to, visibility } = this.#planned
    const isClosed = type === 'direct' || visibility !== 'public'
    const done = `invited ${number}`
    if (to !== 'create' || roomId === null || !isClosed || meta.get(done) !== undefined) return
    const { invited, failed } = await inviteMembers(server, this.#people, this.#room, roomId)
    for (const { userId, why } of failed) {
      const reason = `${userId} could not be invited: ${why}`
      this.#problem({ class: 'forbidden', reason, place: { file: '' }, room, done: 'degraded' })
    }
    if (invited > 0) this.#say(`invited ${grouped(invited)} of its members who have a user here`)
    meta.set(done, '1')
  }

  #problem(problem: Problem): void {
    this.#parts.problems.add('send', problem)
  }

  #say(text: string, event: { [name: string]: unknown } = {}): void {
    this.#parts.progress.say(`${this.#planned.name ?? this.#room.id}: ${text}`, event)
  }
}

/** What tells this state from others, that may have rooms of the same names. */
function stateId(meta: Meta): string {
  const known = meta.get('id')
  if (known !== undefined) return known
  meta.set('id', crypto.randomUUID())
  return stateId(meta)
}

function tellWaiting({ waiting }: SessionState, say: (text: string) => void): void {
  if (waiting > 0)
    say(`${grouped(waiting)} events refer to what did not arrive; they stand without it`)
}

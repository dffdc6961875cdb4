import { canonicalJson } from '#core/canonical-json.ts'
import { membershipOf } from '#core/content/m.room.member.ts'
import { notFound } from '#core/error.ts'
import type { AuthSubject } from '#core/event/auth-events.ts'
import { type JsonObject, without } from '#core/json.ts'
import { lookupIn } from '#engine/room/decide/decide.ts'
import { type Answer, Asked } from '#engine/room/asked.ts'
import type { Lane } from '#engine/room/lane.ts'
import { keysAsked, numbersFor } from '#engine/room/numbers.ts'
import type { Parts } from '#engine/room/parts.ts'
import { authoriserFor } from '#engine/room/member/restricted.ts'
import type { Known, Room } from '#engine/room/room.ts'
import { contentOf, sendLocal } from '#engine/room/local/send.ts'
import type { Task } from '#engine/room/task.ts'
import { type Committed, nothing, type Outcome } from '#engine/room/work.ts'
import type { JoinRoom, Landed } from '#engine/worker/protocol.ts'

const authoriserKey = 'join_authorised_via_users_server'

/** A local user joins a room that we are in, or changes what their join says. */
export class JoinLocal extends Asked<Landed> {
  readonly bytes = 2_000
  readonly #request: JoinRoom
  #room: Room | undefined
  #known: Known | undefined
  /** The join that says the same already. */
  #same: string | undefined

  constructor(answer: Answer<Landed>, request: JoinRoom) {
    super(answer)
    this.#request = request
  }

  *decide(lane: Lane): Task<Outcome | null> {
    const room = yield* lane.load()
    if (room?.kind !== 'joined') throw notFound('The room is not known')
    const { userId, timestamp } = this.#request
    // A profile that is copied from another join must not bring its authoriser along.
    const content: JsonObject = {
      ...without(contentOf(this.#request.content), authoriserKey),
      membership: 'join',
    }
    const state = yield* stateFor(lane.parts, room, userId, content)
    const before = state('m.room.member', userId)
    if (before && sameContent(before.content, content)) {
      this.#same = before.eventId
      if (room.uncommitted.has(before.eventId)) return nothing(room)
      this.committed({ shard: room.shard, firstPosition: 0 })
      return null
    }
    this.#same = undefined
    const authoriser = yield* authoriserFor(lane.parts, room, userId, state)
    if (authoriser !== undefined) content[authoriserKey] = authoriser
    const wish = {
      sender: userId,
      type: 'm.room.member',
      stateKey: userId,
      content: '',
      ...(timestamp !== undefined && { timestamp }),
    }
    const { known, outcome } = yield* sendLocal(lane.parts, room, wish, content)
    this.#room = room
    this.#known = known
    return outcome
  }

  override committed(committed: Committed): void {
    if (this.#same === undefined) this.#room!.committed(this.#known!)
    super.committed(committed)
  }

  answerFor({ shard, firstPosition: position }: Committed): Landed {
    if (this.#same !== undefined) return { eventId: this.#same, shard, position: 0 }
    return { eventId: this.#known!.event.eventId, shard, position }
  }
}

const sameContent = (before: JsonObject, content: JsonObject): boolean =>
  membershipOf(before) === 'join' &&
  canonicalJson(without(before, authoriserKey), 'tolerant') === canonicalJson(content, 'tolerant')

function* stateFor(parts: Parts, room: Room, userId: string, content: JsonObject) {
  const subject = memberSubject(room, userId, content)
  const numbers = yield* numbersFor(parts.interner, [subject])
  return yield* lookupIn(parts, room, room.state, keysAsked(subject), numbers)
}

const memberSubject = (room: Room, userId: string, content: JsonObject): AuthSubject => ({
  version: room.version,
  type: 'm.room.member',
  stateKey: userId,
  sender: userId,
  content,
})

/** Whether a user of ours is in the room: only then do we follow it. */
export function isOurs({ signing }: Parts, room: Room): boolean {
  for (const { name, joined } of room.servers.values())
    if (name === signing.serverName) return joined > 0
  return false
}

import { notFound } from '#core/error.ts'
import type { RoomEvent } from '#core/event/pdu.ts'
import { type Answer, Asked } from '#engine/room/asked.ts'
import { remoteKnock } from '#engine/room/fetch/knock.ts'
import { passHolds } from '#engine/room/hold.ts'
import type { Lane } from '#engine/room/lane.ts'
import { isOurs } from '#engine/room/member/local-member.ts'
import { requireServed } from '#engine/room/member/make-member.ts'
import { enterOutside, versionFor } from '#engine/room/member/outside-room.ts'
import type { Known, Room } from '#engine/room/room.ts'
import { contentOf, Send } from '#engine/room/local/send.ts'
import { shownState } from '#engine/room/member/shown-state.ts'
import { performLocal, type SignedMember, takeMember } from '#engine/room/member/take-member.ts'
import type { Task } from '#engine/room/task.ts'
import type { Committed, Outcome } from '#engine/room/work.ts'
import type { JoinRoom, Landed } from '#engine/worker/protocol.ts'

/** Asking to be let in: here if we are in the room, else at another server. */

/** A local user knocks. Whether the room admits knocks its rules say, here or there. */
export async function knock(lane: Lane, request: JoinRoom): Promise<Landed> {
  const { parts } = lane
  const { userId, timestamp } = request
  const content = contentOf(request.content)
  const room = await parts.turns.seat(true).run(lane.load())
  if (room?.kind === 'joined' && isOurs(parts, room)) {
    await passHolds(lane, true)
    return performLocal(
      lane,
      (answer) =>
        new Send(answer, {
          sender: userId,
          type: 'm.room.member',
          stateKey: userId,
          content: JSON.stringify({ ...content, membership: 'knock' }),
          ...(timestamp !== undefined && { timestamp }),
        }),
    )
  }
  const { federation, now, keys, limits, signing } = parts
  const via = request.via.filter((server) => server !== signing.serverName)
  if (via.length === 0) throw notFound('The room is not known, and no server to ask for it')
  const { event, server, state } = await remoteKnock({
    federation,
    now,
    deadlineMs: limits.joinMs,
    keys: keys.lookup,
    roomId: lane.roomId,
    userId,
    content,
    via,
    signing,
  })
  const internal = `{"knocked_via":${JSON.stringify(server)},"knock_room_state":[${state.join(',')}]}`
  return lane.perform((answer) => new KnockOutside(answer, event, internal))
}

/** A knock that another server took: until it is answered it is all that we know of the room. */
class KnockOutside extends Asked<Landed> {
  readonly bytes: number
  readonly #event: RoomEvent
  readonly #internal: string
  #made: { room: Room; known: Known } | undefined

  constructor(answer: Answer<Landed>, event: RoomEvent, internal: string) {
    super(answer)
    this.#event = event
    this.#internal = internal
    this.bytes = internal.length + 2_000
  }

  *decide(lane: Lane): Task<Outcome | null> {
    const there = yield* lane.load()
    // Joined meanwhile: the knock is in the room's graph already, and comes with it.
    if (there?.kind === 'joined' && isOurs(lane.parts, there)) {
      const { eventId } = this.#event
      this.answer.resolve({ eventId, shard: lane.shard, position: 0 })
      return null
    }
    versionFor(there, this.#event.version.id)
    const { room, known, outcome } = yield* enterOutside(lane, there, this.#event, this.#internal)
    this.#made = { room, known }
    return outcome
  }

  override committed(committed: Committed): void {
    const { room, known } = this.#made!
    room.committed(known)
    super.committed(committed)
  }

  answerFor({ shard, firstPosition: position }: Committed): Landed {
    return { eventId: this.#event.eventId, shard, position }
  }
}

/** Takes the knock of another server's user; what that user may see of the room goes back. */
export async function takeKnock(
  lane: Lane,
  signed: Omit<SignedMember, 'membership'>,
): Promise<Landed & { state: string[] }> {
  const { eventId, shard, position } = await takeMember(lane, { ...signed, membership: 'knock' })
  const state = await lane.parts.turns.seat(true).run(shownNow(lane))
  return { eventId, shard, position, state }
}

function* shownNow(lane: Lane): Task<string[]> {
  const room = requireServed(lane.parts, yield* lane.load())
  return yield* shownState(lane.parts, room, room.state)
}

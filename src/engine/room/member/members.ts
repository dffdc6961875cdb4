import type { PolicyServer } from '#core/content/m.room.policy.ts'
import { membershipOf } from '#core/content/m.room.member.ts'
import { forbidden, MatrixError, notFound } from '#core/error.ts'
import { authorize } from '#core/auth/authorize.ts'
import { type AuthSubject, selectAuthEvents } from '#core/event/auth-events.ts'
import { canonicalEvent } from '#core/event/hash.ts'
import type { RoomEvent } from '#core/event/pdu.ts'
import { needsPolicySignature } from '#core/event/policy.ts'
import { domainOf } from '#core/ids.ts'
import type { JsonObject } from '#core/json.ts'
import { lookupIn } from '#engine/room/decide/decide.ts'
import { remoteInvite } from '#engine/room/fetch/invite.ts'
import { localLeave, remoteLeave, type Signed } from '#engine/room/fetch/leave.ts'
import { passHolds } from '#engine/room/hold.ts'
import type { Lane } from '#engine/room/lane.ts'
import { isOurs, JoinLocal } from '#engine/room/member/local-member.ts'
import { keysAsked, numbersFor } from '#engine/room/numbers.ts'
import { knockedVia } from '#engine/room/member/knock-state.ts'
import { LeaveOutside } from '#engine/room/member/leave-outside.ts'
import { policyOf } from '#engine/room/policy/policy.ts'
import { performLocal, putIn } from '#engine/room/member/take-member.ts'
import type { Known, Room } from '#engine/room/room.ts'
import type { RemoteJoins } from '#engine/room/member/remote-joins.ts'
import { buildLocal, citedBy, contentOf, Send } from '#engine/room/local/send.ts'
import { shownState } from '#engine/room/member/shown-state.ts'
import { type Task, wait } from '#engine/room/task.ts'
import type { JoinRoom, Landed, MembershipChange } from '#engine/worker/protocol.ts'

/** Joining, inviting, leaving: what is between the room here, and other servers. */

const roomOf = (lane: Lane) => lane.parts.turns.seat(true).run(lane.load())

/** Joins a local user: here if we are in the room and may let them in, else through other servers. */
export async function join(lane: Lane, joins: RemoteJoins, request: JoinRoom): Promise<Landed> {
  const { parts } = lane
  for (;;) {
    // Two users of ours may join a room at once: the second then joins where the first is.
    for (let other = joins.other(lane.roomId); other; other = joins.other(lane.roomId))
      await other.catch(() => {})
    const room = await roomOf(lane)
    const inviter = room ? await inviterOf(lane, room, request.userId) : undefined
    const via = new Set([...(inviter === undefined ? [] : [inviter]), ...request.via])
    via.delete(parts.signing.serverName)
    if (room?.kind === 'joined' && isOurs(parts, room)) {
      try {
        await passHolds(lane, true)
        return await performLocal(lane, (answer) => new JoinLocal(answer, request))
      } catch (error) {
        // Another server may be able to let the user in.
        if (!unableToGrant(error) || via.size === 0) throw error
      }
    }
    if (via.size === 0) throw notFound('The room is not known, and no server to ask for it')
    // Another join may have begun while the room was looked at.
    if (!joins.has(lane.roomId)) return joins.join(lane, { ...request, via: [...via] })
  }
}

const unableToGrant = (error: unknown) =>
  error instanceof MatrixError &&
  (error.errcode === 'M_UNABLE_TO_GRANT_JOIN' || error.errcode === 'M_UNABLE_TO_AUTHORISE_JOIN')

async function inviterOf(lane: Lane, room: Room, userId: string): Promise<string | undefined> {
  const member = await lane.parts.turns.seat(true).run(memberOf(lane, room, userId))
  if (!member || membershipOf(member.event.content) !== 'invite') return undefined
  return domainOf(member.event.sender)
}

function* memberOf(lane: Lane, room: Room, userId: string): Task<Known | undefined> {
  const { parts } = lane
  const numbers = yield* wait(parts.interner.intern({ stateKeys: [['m.room.member', userId]] }))
  const nid = room.state.get(numbers.stateKey('m.room.member', userId))
  if (nid === undefined) return undefined
  return (yield* parts.events.byNids(room, [nid])).get(nid)
}

/** Invites, kicks, bans, unbans, leaves: an event of ours, and what other servers must do first. */
export async function changeMembership(lane: Lane, change: MembershipChange): Promise<Landed> {
  const { parts } = lane
  const { sender, target, membership, timestamp } = change
  const time = timestamp === undefined ? {} : { timestamp }
  const content: JsonObject = { ...contentOf(change.content), membership }
  const room = await roomOf(lane)
  if (!room) throw notFound('The room is not known')
  if (room.kind !== 'joined' || !isOurs(parts, room)) {
    if (membership === 'leave' && sender === target)
      return leaveOutside(lane, room, sender, content)
    throw forbidden('You are not in the room')
  }
  const isRemote = domainOf(target) !== parts.signing.serverName
  if (membership === 'invite' && isRemote)
    return inviteOther(lane, { sender, target, content, ...time })
  await passHolds(lane, true)
  return performLocal(
    lane,
    (answer) =>
      new Send(answer, {
        sender,
        type: 'm.room.member',
        stateKey: target,
        content: JSON.stringify(content),
        ...time,
      }),
  )
}

/** Rejects an invite to a room that we are not in, or takes a knock back. The user gets rid of it whatever others say. */
async function leaveOutside(
  lane: Lane,
  room: Room,
  userId: string,
  content: JsonObject,
): Promise<Landed> {
  const { signing, federation, now, keys, limits } = lane.parts
  const before = await lane.parts.turns.seat(true).run(memberOf(lane, room, userId))
  const was = membershipOf(before?.event.content)
  if (!before || (was !== 'invite' && was !== 'knock')) throw forbidden('You are not in the room')
  const asked =
    was === 'invite' ? domainOf(before.event.sender) : await knockedVia(lane.parts, before.nid)
  let signed: Signed
  try {
    signed = await remoteLeave({
      federation,
      now,
      deadlineMs: limits.leaveMs,
      keys: keys.lookup,
      roomId: lane.roomId,
      userId,
      content,
      via: asked === undefined || asked === signing.serverName ? [] : [asked],
      version: room.version.id,
      signing,
    })
  } catch (error) {
    if (!(error instanceof MatrixError)) throw error
    signed = localLeave(before.event, content, { signing, now })
  }
  const { event, json } = signed
  return lane.perform((answer) => new LeaveOutside(answer, event, json))
}

type WantedInvite = { sender: string; target: string; content: JsonObject; timestamp?: number }

/** Invites a user of another server, which must sign the invite before the room has it. */
async function inviteOther(lane: Lane, wish: WantedInvite): Promise<Landed> {
  const { federation, now, keys, limits, turns, signing, policies } = lane.parts
  const { event: made, server, state } = await turns.seat(true).run(buildInvite(lane, wish))
  const { event, text: json } =
    server && needsPolicySignature(made)
      ? await policies.sign(made, server)
      : { event: made, text: canonicalEvent(made.version, made.pdu)! }
  const signed = await remoteInvite({
    federation,
    now,
    deadlineMs: limits.inviteMs,
    keys: keys.lookup,
    event,
    json,
    inviteRoomState: state,
  })
  const origin = signing.serverName
  await passHolds(lane, true)
  return putIn(lane, { event: signed.event, text: signed.json, origin })
}

function* buildInvite(
  lane: Lane,
  { sender, target, content, ...time }: WantedInvite,
): Task<{ event: RoomEvent; server: PolicyServer | undefined; state: string[] }> {
  const { parts } = lane
  const room = yield* lane.load()
  if (room?.kind !== 'joined') throw notFound('The room is not known')
  const type = 'm.room.member'
  const subject: AuthSubject = { version: room.version, type, stateKey: target, sender, content }
  const numbers = yield* numbersFor(parts.interner, [subject])
  const { state: map } = room
  const prevs = citedBy(room)
  const state = yield* lookupIn(parts, room, map, keysAsked(subject), numbers)
  const auths = selectAuthEvents(subject, state)
  const wish = { sender, type, stateKey: target, content: '', ...time }
  const { event } = buildLocal(parts, room, wish, content, {
    prevs: prevs.map((prev) => prev.event),
    auths,
  })
  const verdict = authorize(event, state, () => true)
  if (!verdict.allowed) throw forbidden(verdict.reason)
  const server = yield* policyOf(parts, room, numbers)
  return { event, server, state: yield* shownState(parts, room, map, sender) }
}

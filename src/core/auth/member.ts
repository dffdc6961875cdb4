import { allow, reject, type Verdict } from '#core/verdict.ts'
import { domainOf } from '#core/ids.ts'
import type { RoomEvent } from '#core/event/pdu.ts'
import { authorizeThirdPartyInvite } from './third-party-invite.ts'
import type { RoomState } from './room.ts'

/** Tells whether a server's signature on the event at hand was checked and found good. */
export type SignedBy = (server: string) => boolean

/**
 * Rule 5 of v1–v5 and v12+, 4 of v6–v11: `m.room.member`. The numbers are those of v12.
 *
 * Spec: rooms/v12/#authorization-rules
 */
export function authorizeMember(event: RoomEvent, room: RoomState, signedBy: SignedBy): Verdict {
  const target = event.stateKey
  // 5.1: No state_key, or no membership: reject.
  if (target === undefined) return reject('A member event is state')
  // Not spec: nor can what names no server be a member; no other server lets it in.
  if (domainOf(target) === undefined) return reject('The state key is not a user ID')
  if (!Object.hasOwn(event.content, 'membership')) return reject('A member event has a membership')
  // 5.2, v8+: Not signed by the server of join_authorised_via_users_server: reject.
  if (event.version.restrictedJoins && Object.hasOwn(event.content, authoriserKey)) {
    const authoriser = event.content[authoriserKey]
    const server = typeof authoriser === 'string' ? domainOf(authoriser) : undefined
    if (server === undefined || !signedBy(server))
      return reject('The server that authorises the join has not signed it')
  }
  switch (event.content['membership']) {
    case 'join':
      return authorizeJoin(event, target, room)
    case 'invite':
      return authorizeInvite(event, target, room)
    case 'leave':
      return authorizeLeave(event, target, room)
    case 'ban':
      return authorizeBan(event, target, room)
    case 'knock':
      return authorizeKnock(event, target, room)
    default:
      // 5.8: The membership is unknown: reject.
      return reject('The membership is unknown')
  }
}

const authoriserKey = 'join_authorised_via_users_server'

function authorizeJoin(event: RoomEvent, target: string, room: RoomState): Verdict {
  const { create } = room
  // 5.3.1: The only previous event is the create event, and the state_key is the creator: allow.
  const [first] = event.prevEvents
  if (event.prevEvents.length === 1 && first === create.eventId) {
    const creator = create.version.creatorInContent ? create.content['creator'] : create.sender
    if (creator === target) return allow
  }
  // 5.3.2: The sender is not the state_key: reject.
  if (event.sender !== target) return reject('Nobody can join for another')
  // 5.3.3: The sender is banned: reject.
  const current = room.membership(target)
  if (current === 'ban') return reject('The sender is banned')
  const expected = current === 'join' || current === 'invite'
  const rule = room.joinRule()
  // 5.3.4: Join rule invite, from v7 on also knock: allow who is invited or joined.
  if (rule === 'invite' || (rule === 'knock' && room.version.knocking))
    return expected ? allow : reject('The sender is not invited')
  // 5.3.5: Join rule restricted (v8+) or knock_restricted (v10+).
  if (isRestricted(rule, room)) {
    // 5.3.5.1: Membership is join or invite: allow.
    if (expected) return allow
    // 5.3.5.2: The authorising user may not invite, or is not joined: reject.
    const authoriser = event.content[authoriserKey]
    if (typeof authoriser !== 'string' || room.membership(authoriser) !== 'join')
      return reject('No member of the room authorises the join')
    // 5.3.5.3: Otherwise allow.
    return room.levelOf(authoriser) >= room.named('invite')
      ? allow
      : reject('The member who authorises the join may not invite')
  }
  // 5.3.6–5.3.7: Join rule public: allow. Otherwise reject.
  return rule === 'public' ? allow : reject('The join rule lets nobody in')
}

function isRestricted(rule: string | undefined, room: RoomState): boolean {
  if (rule === 'restricted') return room.version.restrictedJoins
  return rule === 'knock_restricted' && room.version.knockRestricted
}

function authorizeInvite(event: RoomEvent, target: string, room: RoomState): Verdict {
  // 5.4.1: content has third_party_invite.
  if (Object.hasOwn(event.content, 'third_party_invite'))
    return authorizeThirdPartyInvite(event, target, room)
  // 5.4.2: The sender is not joined: reject.
  if (room.membership(event.sender) !== 'join') return reject('The sender is not in the room')
  // 5.4.3: The target is joined or banned: reject.
  const current = room.membership(target)
  if (current === 'join') return reject('The invitee is in the room already')
  if (current === 'ban') return reject('The invitee is banned')
  // 5.4.4–5.4.5: The sender's level is at least the invite level: allow. Otherwise reject.
  return room.levelOf(event.sender) >= room.named('invite')
    ? allow
    : reject("The sender's power is too low to invite")
}

function authorizeLeave(event: RoomEvent, target: string, room: RoomState): Verdict {
  const current = room.membership(target)
  // 5.5.1: The sender is the state_key: allow if invited or joined; from v7 on also if knocking.
  if (event.sender === target) {
    const here = current === 'invite' || current === 'join'
    return here || (current === 'knock' && room.version.knocking)
      ? allow
      : reject('The sender is not in the room')
  }
  // 5.5.2: The sender is not joined: reject.
  if (room.membership(event.sender) !== 'join') return reject('The sender is not in the room')
  const own = room.levelOf(event.sender)
  // 5.5.3: The target is banned, and the sender's level is below the ban level: reject.
  if (current === 'ban' && !(own >= room.named('ban')))
    return reject("The sender's power is too low to unban")
  // 5.5.4–5.5.5: The sender's level is at least the kick level, and above the target's: allow.
  return own >= room.named('kick') && room.levelOf(target) < own
    ? allow
    : reject("The sender's power is too low to kick")
}

function authorizeBan(event: RoomEvent, target: string, room: RoomState): Verdict {
  // 5.6.1: The sender is not joined: reject.
  if (room.membership(event.sender) !== 'join') return reject('The sender is not in the room')
  // 5.6.2–5.6.3: The sender's level is at least the ban level, and above the target's: allow.
  const own = room.levelOf(event.sender)
  return own >= room.named('ban') && room.levelOf(target) < own
    ? allow
    : reject("The sender's power is too low to ban")
}

function authorizeKnock(event: RoomEvent, target: string, room: RoomState): Verdict {
  // v1–v6 know no knocks.
  if (!room.version.knocking) return reject('The membership is unknown')
  // 5.7.1: The join rule is not knock, nor (v10+) knock_restricted: reject.
  const rule = room.joinRule()
  if (rule !== 'knock' && !(rule === 'knock_restricted' && room.version.knockRestricted))
    return reject('The join rule admits no knocks')
  // 5.7.2: The sender is not the state_key: reject.
  if (event.sender !== target) return reject('Nobody can knock for another')
  // 5.7.3–5.7.4: The sender is not banned, invited or joined: allow. Otherwise reject.
  const current = room.membership(target)
  return current === 'ban' || current === 'invite' || current === 'join'
    ? reject('The sender cannot knock now')
    : allow
}

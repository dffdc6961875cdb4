import { mentionedUsers, pushFactsOf } from '#core/push/facts.ts'
import type { RoomEvent } from '#core/event/pdu.ts'
import { domainOf } from '#core/ids.ts'
import * as findMembers from '#store/room/find-members.ts'
import type { Interned } from '#store/room/intern.ts'
import type { StateMap } from '#store/room/state-map.ts'
import type { Parts } from '#engine/room/parts.ts'
import type { Room } from '#engine/room/room.ts'
import { type Task, wait } from '#engine/room/task.ts'

/** What is stored of an event for the unread counts of all members, and of those whom it names. */
export type PushFacts = { flags: number; mentioned: number[] }

const nobody: PushFacts = { flags: 0, mentioned: [] }

/** Works out what an event notifies of. Only joined users of ours get a row for being mentioned. */
export function* pushFactsFor(
  parts: Parts,
  room: Room,
  event: RoomEvent,
  { before, numbers }: { before: StateMap; numbers: Interned },
): Task<PushFacts> {
  if (event.type === 'm.room.create') return nobody
  const nid = before.get(numbers.stateKey('m.room.power_levels', ''))
  const levels =
    nid === undefined
      ? undefined
      : (parts.events.get(nid) ?? (yield* parts.events.byNids(room, [nid])).get(nid))
  const flags = pushFactsOf(event, { create: room.create, powerLevels: levels?.event })
  const own = parts.signing.serverName
  const users = mentionedUsers(event).filter((user) => domainOf(user) === own)
  if (users.length === 0) return flags === 0 ? nobody : { flags, mentioned: [] }
  const rows = yield* wait(findMembers.joinedNids(parts.sql, room, users).then((list) => list))
  return { flags, mentioned: rows.map((row) => row.user_nid) }
}

import type { Parts } from '#engine/room/parts.ts'
import type { Known, Room } from '#engine/room/room.ts'
import { type Task, wait } from '#engine/room/task.ts'

/** The `m.room.server_acl` event of a room's current state. */
export function* lookupAcl(parts: Parts, room: Room): Task<Known | undefined> {
  const numbers = yield* wait(parts.interner.intern({ stateKeys: [['m.room.server_acl', '']] }))
  const nid = room.state.get(numbers.stateKey('m.room.server_acl', ''))
  if (nid === undefined) return undefined
  return (yield* parts.events.byNids(room, [nid])).get(nid)
}

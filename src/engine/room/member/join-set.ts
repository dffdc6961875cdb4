import type { JoinedRoom } from '#engine/room/fetch/fetching.ts'
import type { Parts } from '#engine/room/parts.ts'
import { type Task, wait } from '#engine/room/task.ts'

/** Not spec: more names than this are one server's word only, and each would cost a row for ever. */
const maxNamed = 10_000

/**
 * The set of servers that are in a room by the word of who let us in, our own not among them: what can
 * be known of whom to send to before the members are.
 *
 * Spec: server-server-api/#put_matrixfederationv2send_joinroomideventid (`servers_in_room`)
 */
export function* joinSetOf(parts: Parts, { servers }: JoinedRoom): Task<number> {
  const names = servers.filter((name) => name !== parts.signing.serverName).slice(0, maxNamed)
  const numbers = yield* wait(parts.interner.intern({ servers: names }))
  const set = yield* wait(parts.serverSets.intern(names.map((name) => numbers.server(name))))
  return set.nid
}

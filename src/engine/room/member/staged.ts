import { type Membership, membershipOf } from '#core/content/m.room.member.ts'
import { domainOf } from '#core/ids.ts'
import { sortInSteps } from '#core/state-res/steps.ts'
import type { StagedState } from '#store/room/batch.ts'
import type { Interned } from '#store/room/intern.ts'
import { StateMap } from '#store/room/state-map.ts'
import type { JoinedRoom } from '#engine/room/fetch/fetching.ts'
import { memberOf } from '#engine/room/numbers.ts'
import type { JoinedServer, Known } from '#engine/room/room.ts'
import { steps, type Task } from '#engine/room/task.ts'

/** Entries of the state that are gone through at once. */
const perStep = 2_000

/** What is known of an event that is staged: enough for others to cite it. */
export type Staged = { nid: number; authOrder: number | null }

/** A join under way: what was staged so far. */
export type Intake = {
  joined: JoinedRoom
  generation: number
  stateIds: ReadonlySet<string>
  staged: Map<string, Staged>
  /** The state, by state key number. What is decided twice is here once. */
  entries: Map<number, Entry>
}

type Entry = { nid: number; membership: Membership | undefined; serverNid: number; server: string }

/** An entry of the state that is staged, and who it makes a member. */
export function stageEntry(
  intake: Intake,
  known: Known,
  numbers: Interned,
  staged: StagedState,
): void {
  const { stateKeyNid, typeNid, senderNid, nid, event } = known
  if (stateKeyNid === null) return
  const user = memberOf(event)
  const membership = membershipOf(event.content)
  const entry: Entry = { nid, membership: undefined, serverNid: 0, server: '' }
  intake.entries.set(stateKeyNid, entry)
  if (user === undefined || membership === undefined) {
    staged.entries.push({ typeNid, stateKeyNid, eventNid: nid, member: null })
    return
  }
  const server = domainOf(user)!
  const serverNid = numbers.server(server)
  Object.assign(entry, { membership, serverNid, server })
  const member = { userNid: numbers.user(user), serverNid, senderNid, new: membership }
  staged.entries.push({ typeNid, stateKeyNid, eventNid: nid, member })
}

/** How many joined of which servers, and how many invited, the staged state has; and who the user was. */
export function* countMembers(
  { entries, joined: answer }: Intake,
  userId: string,
): Task<{
  servers: Map<number, JoinedServer>
  joined: number
  invited: number
  was: Membership | null
}> {
  const servers = new Map<number, JoinedServer>()
  let joined = 0
  let invited = 0
  let step = 0
  for (const { membership, serverNid, server } of entries.values()) {
    if (++step % perStep === 0) yield
    if (membership === 'invite') invited++
    if (membership !== 'join') continue
    joined++
    servers.set(serverNid, { name: server, joined: (servers.get(serverNid)?.joined ?? 0) + 1 })
  }
  yield
  const before = answer.state.find(
    ({ type, stateKey }) => type === 'm.room.member' && stateKey === userId,
  )
  return { servers, joined, invited, was: membershipOf(before?.content) ?? null }
}

/** The state that was staged, some of it at a time. */
export function* stateOf({ entries }: Intake): Task<StateMap> {
  const pairs = Array.from(entries, ([key, { nid }]) => [key, nid] as const)
  const sorted = yield* steps(sortInSteps(pairs, (a, b) => a[0] - b[0]))
  let state = StateMap.empty
  for (let from = 0; from < sorted.length; from += perStep) {
    state = state.with(sorted.slice(from, from + perStep))
    yield
  }
  return state
}

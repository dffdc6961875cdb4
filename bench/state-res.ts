import { selectAuthEvents } from '#core/event/auth-events.ts'
import type { JsonObject } from '#core/json.ts'
import { roomVersions, type RoomVersion } from '#core/room-version.ts'
import { findConflicts } from '#core/state-res/conflicts.ts'
import { resolve } from '#core/state-res/resolve.ts'
import { placeOf, RoomGraph, type NamedState } from '#test/differential/graph.ts'
import { makeEvent } from '#test/differential/make-event.ts'
import { openBench } from './figures.ts'
import { stepThrough } from './stepping.ts'

const help = `
What it costs to merge two branches of a room of 10,000 members, on which 600 events of every kind were
sent, and two of which each has changed all of --conflicts members: ms of processor time, the median of the
rounds, and of the longest step between two yields, after which another room gets its turn. The auth
difference is found by walking here; the store has an index instead (bun run bench auth-graph).

  bun run bench state-res [--members 10000] [--conflicts 10000] [--rounds 9]
`

const bench = openBench(
  'state-res',
  help,
  { members: 10_000, conflicts: 10_000, rounds: 9 },
  { members: 6_000, conflicts: 500, rounds: 1 },
)
const { members, conflicts } = bench.options
const perBranch = 300
const admin = '@admin:a.example'
const user = (index: number) => `@user${index}:s${index % 50}.example`

type Branch = { state: Map<string, string>; tip: string }

class Town {
  readonly graph: RoomGraph
  readonly version: RoomVersion
  readonly trunk: Branch
  #clock = 1

  constructor(version: RoomVersion) {
    this.version = version
    const content: JsonObject = version.creatorInContent ? { creator: admin } : {}
    const roomId = version.createEventIsRoomId ? undefined : '!town:a.example'
    const create = makeEvent(version, roomId, {
      type: 'm.room.create',
      stateKey: '',
      sender: admin,
      content,
      prevEvents: [],
      authEvents: [],
      depth: 1,
      ts: 1,
    })
    this.graph = new RoomGraph(create)
    const state = new Map([[placeOf('m.room.create', ''), create.eventId]])
    this.trunk = { state, tip: create.eventId }
    this.member(this.trunk, admin, admin, 'join')
    this.levels(this.trunk, 50)
    this.send(this.trunk, 'm.room.join_rules', '', admin, { join_rule: 'public' })
    for (let index = 0; index < members; index++)
      this.member(this.trunk, user(index), user(index), 'join')
  }

  send(branch: Branch, type: string, stateKey: string, sender: string, content: JsonObject): void {
    const lookup = (wanted: string, key: string) =>
      this.graph.events.get(branch.state.get(placeOf(wanted, key)) ?? '')
    const subject = { version: this.version, type, stateKey, sender, content }
    const authEvents = selectAuthEvents(subject, lookup).map(({ eventId }) => eventId)
    const ts = ++this.#clock
    const draft = { ...subject, prevEvents: [branch.tip], authEvents, ts, depth: ts }
    const event = makeEvent(this.version, this.graph.create.roomId, draft)
    this.graph.add(event)
    branch.state.set(placeOf(type, stateKey), event.eventId)
    branch.tip = event.eventId
  }

  member(branch: Branch, sender: string, target: string, membership: string): void {
    this.send(branch, 'm.room.member', target, sender, { membership, n: this.#clock })
  }

  /** A hundred moderators, as large rooms have. */
  levels(branch: Branch, level: number): void {
    const users: JsonObject = this.version.privilegedCreators ? {} : { [admin]: 100 }
    for (let index = 0; index < 100; index++) users[user(index)] = level
    this.send(branch, 'm.room.power_levels', '', admin, { users, n: this.#clock })
  }

  /** Bans, kicks, joins, changes of power and of other state. */
  fork(start: number): NamedState {
    const branch = { state: new Map(this.trunk.state), tip: this.trunk.tip }
    for (let n = 0; n < perBranch; n++) {
      const moderator = user((start + n) % 100)
      const other = user(200 + ((start + n * 7) % 1500))
      if (n % 50 === 49) this.levels(branch, 50 + (n % 3))
      else if (n % 5 === 0) this.member(branch, moderator, other, n % 2 ? 'ban' : 'leave')
      else if (n % 5 < 3) this.member(branch, other, other, 'join')
      else if (n % 5 === 3) this.send(branch, 'x.state', `${n}`, moderator, { n: start })
      else this.member(branch, user(5000 + start + n), user(5000 + start + n), 'leave')
    }
    return branch.state
  }

  /** Every member says something of themselves, or is kicked by who may. */
  forkAll(kicks: boolean): NamedState {
    const branch = { state: new Map(this.trunk.state), tip: this.trunk.tip }
    for (let n = 0; n < Math.min(conflicts, members); n++)
      if (kicks) this.member(branch, admin, user(n), 'leave')
      else this.member(branch, user(n), user(n), 'join')
    return branch.state
  }
}

const median = (name: string, numbers: number[]) => ({
  name,
  value: numbers.sort((a, b) => a - b)[numbers.length >> 1]!,
  unit: 'ms',
})

function measure(title: string, version: RoomVersion, graph: RoomGraph, forks: NamedState[]): void {
  const states = forks.map((state) => graph.pack(state))
  const times = { conflicts: [], difference: [], resolve: [], longest: [] } as Record<
    string,
    number[]
  >
  let keys = 0
  let full = 0
  for (let round = 0; round < bench.options.rounds; round++) {
    const found = stepThrough(findConflicts(states))
    const given = stepThrough(graph.resolution(states, found.value))
    const resolved = stepThrough(resolve(version, given.value))
    keys = found.value.candidates.size
    full = new Set([...found.value.perState.flat(), ...given.value.authDifference]).size
    times['conflicts']!.push(found.ms)
    times['difference']!.push(given.ms)
    times['resolve']!.push(resolved.ms)
    times['longest']!.push(Math.max(found.longest, resolved.longest))
  }
  bench.tell(title, [
    median('finding conflicts', times['conflicts']!),
    median('resolving', times['resolve']!),
    median('the longest turn', times['longest']!),
    median('auth difference, by walking', times['difference']!),
    { name: 'conflicted keys', value: keys, unit: '' },
    { name: 'events to judge', value: full, unit: '' },
  ])
}

for (const id of ['1', '10', '12']) {
  const version = roomVersions.get(id)!
  const town = new Town(version)
  const { graph } = town
  measure(`version ${id}, ${members} members`, version, graph, [town.fork(0), town.fork(37)])
  const all = (kicks: boolean) => [town.forkAll(false), town.forkAll(kicks)]
  measure(`version ${id}, ${conflicts} members in conflict`, version, graph, all(false))
  measure(`version ${id}, ${conflicts} members kicked and not`, version, graph, all(true))
}
bench.chart('Merging two branches', ['finding conflicts', 'resolving', 'the longest turn'])
bench.finish()

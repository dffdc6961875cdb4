import { isOnMainline, isOwnMembership, resolveOneKey } from '#core/state-res/one-key.ts'
import type { AuthGraph } from '#store/room/auth-graph.ts'
import type { Interned } from '#store/room/intern.ts'
import type { StateMap } from '#store/room/state-map.ts'
import type { Parts } from '#engine/room/parts.ts'
import type { Done, How } from '#engine/room/decide/resolutions.ts'
import { isRejected, type Known, type Room } from '#engine/room/room.ts'
import { steps, type Task } from '#engine/room/task.ts'

/** An event that is just being decided: the state before it, the one after it is among those to resolve. */
export type Own = { known: Known; before: StateMap; after: StateMap; numbers: Interned }

/**
 * What states resolve to of which one is the state after an event, where it is known what they resolve
 * to with the state before it instead: `prior`. Undefined if that does not say.
 *
 * If the event is a user's own membership, and nothing else in the full conflicted set asks for this
 * user's membership, then all of the set comes out as before, and only this membership is to be
 * worked out. The full conflicted set must grow by the event alone (and by the user's membership so
 * far, if all states had that):
 * - the auth difference: the event cites nothing that is not in the state before it, so it adds itself
 *   alone to that state's auth chain, and nobody else has it.
 * - v2.1: no other event leads to the event or to the membership before it, and what they cite is in
 *   the conflicted subgraph or leads to no conflicted event.
 */
export function* resolveOneMore(
  parts: Parts,
  room: Room,
  graph: AuthGraph,
  prior: Done,
  own: Own,
  states: readonly StateMap[],
): Task<Done | undefined> {
  const how = prior.how
  const more = how && (yield* merged(parts, room, graph, { prior, how, own, states }))
  if (!more || prior.how !== how) return undefined
  const { known } = own
  const { sender } = known.event
  const key = known.stateKeyNid!
  const to = prior.to.with([[key, more.event]])
  prior.how = undefined
  how.users.set(sender, more.list)
  how.difference.add(known.nid)
  for (const nid of more.list) how.between.add(nid)
  return { states, to, how }
}

/** What a membership is judged by, beside that of its user. */
const placesAsked = ['m.room.create', 'm.room.power_levels', 'm.room.join_rules']

type Given = { prior: Done; how: How; own: Own; states: readonly StateMap[] }

function* merged(
  parts: Parts,
  room: Room,
  graph: AuthGraph,
  { prior, how, own, states }: Given,
): Task<{ event: number | undefined; list: number[] } | undefined> {
  const { known, before } = own
  const { event, authNids } = known
  const key = known.stateKeyNid!
  const own21 = room.version.stateResolution === 'v2.1'
  const earlier = how.users.get(event.sender)
  if (!isOwnMembership(event) || isRejected(known) || earlier === null) return undefined
  if (graph.has(known.nid) || authNids.length !== event.authEvents.length) return undefined
  if (!authNids.every((nid) => graph.has(nid))) return undefined
  const old = before.get(key)
  if (old !== undefined && !authNids.includes(old)) return undefined
  if (old !== undefined && own21 && graph.isCited(old)) return undefined
  const list = [...(earlier ?? [])]
  const isNew = old !== undefined && prior.states.every((state) => state.get(key) === old)
  if (isNew && !list.includes(old)) list.push(old)
  // One that no state has any more may drop out of the set.
  const stays = isNew || old === undefined || how.difference.has(old)
  if (!stays && !states.some((state) => state !== own.after && state.get(key) === old))
    return undefined
  const asked = placesAsked.flatMap((type) => {
    const place = own.numbers.stateKey(type, '')
    return how.settled.made.get(place) ?? prior.to.get(place) ?? []
  })
  const found = yield* eventsFor(parts, room, [...authNids, ...list, ...asked])
  for (const nid of authNids) {
    const cited = found.get(nid)!
    if (isRejected(cited) || before.get(cited.stateKeyNid!) !== nid) return undefined
  }
  found.set(known.nid, known)
  list.push(known.nid)
  for (const nid of list) {
    const each = found.get(nid)!
    if (!isOwnMembership(each.event) || isRejected(each)) return undefined
    if (!isOnMainline(levelsOf(each, found), how.settled)) return undefined
  }
  if (own21) {
    const cited = [...authNids, ...(isNew ? found.get(old)!.authNids : [])]
    for (const nid of cited)
      if (nid !== old && !(yield* leadsNowhere(graph, how, nid))) return undefined
  }
  return { event: yield* outcome(room, { prior, how, own, found, list }), list }
}

/** Events, with what they cite. */
function* eventsFor(parts: Parts, room: Room, nids: readonly number[]): Task<Map<number, Known>> {
  const found = yield* parts.events.byNids(room, nids)
  const cited = [...found.values()].flatMap(({ authNids }) => authNids)
  for (const [nid, known] of yield* parts.events.byNids(
    room,
    cited.filter((nid) => !found.has(nid)),
  ))
    found.set(nid, known)
  return found
}

const levelsOf = ({ authNids }: Known, found: ReadonlyMap<number, Known>): number | undefined =>
  authNids.find((nid) => {
    const { event } = found.get(nid)!
    return event.type === 'm.room.power_levels' && event.stateKey === ''
  })

/** v2.1: what lies below an event is in the set already, or has nothing to do with it. */
function* leadsNowhere(graph: AuthGraph, how: How, nid: number): Task<boolean> {
  if (how.between.has(nid) || how.clean.has(nid)) return true
  for (const below of yield* steps(graph.chain([nid], true)))
    if (how.between.has(below)) return false
  how.clean.add(nid)
  return true
}

type Outcome = Omit<Given, 'states'> & { found: ReadonlyMap<number, Known>; list: number[] }

function* outcome(room: Room, { prior, how, own, found, list }: Outcome): Task<number | undefined> {
  const key = own.known.stateKeyNid!
  const isEmptyBelow = room.version.stateResolution === 'v2.1'
  const { sender } = own.known.event
  const hasMainline = how.settled.mainline.size > 0
  return yield* steps(
    resolveOneKey(key, list, how.settled, {
      create: room.create!,
      event: (nid) => {
        const each = found.get(nid)!
        const { event, stateKeyNid, authNids } = each
        return { key: stateKeyNid!, event, auth: authNids, rejected: isRejected(each) }
      },
      powerLevelsOf: (nid) => (hasMainline ? levelsOf(found.get(nid)!, found) : undefined),
      keyOf: (type, stateKey) => {
        if (stateKey === '' && placesAsked.includes(type)) return own.numbers.stateKey(type, '')
        if (type === 'm.room.member' && stateKey === sender) return key
        throw new Error(`a membership was judged by ${type} ${stateKey}`)
      },
      unconflicted: (at) => (isEmptyBelow || at === key ? undefined : prior.to.get(at)),
    }),
  )
}

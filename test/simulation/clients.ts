import { type ClientEvent, askSurely, historyOf, serverOf, stateOf } from './actor.ts'
import type { Copy, Follower } from './follower.ts'
import type { Fact, Insight, Knowledge } from './knowledge.ts'
import type { Room } from './world.ts'

/** What a client put together must be what its server says: where it is not, in sentences. */
export async function departures(
  follower: Follower,
  rooms: readonly Room[],
  insight: Insight,
): Promise<string[]> {
  const { actor } = follower
  const { body } = await askSurely(actor, 'GET', 'joined_rooms')
  const joined = new Set(body.joined_rooms as string[])
  const found = await Promise.all(
    rooms.map(async (room) => {
      const { roomId, version } = room
      const copy = follower.rooms.get(roomId)
      const where = `${follower.name} in ${roomId} (v${version})`
      if ((copy?.joined ?? false) !== joined.has(roomId))
        return [`${where}: is ${joined.has(roomId) ? '' : 'not '}joined, and was told otherwise`]
      if (!copy?.joined) return []
      const knowledge = (await insight(serverOf(actor.userId), room))!
      const state = (await stateOf(actor, roomId))!
      const history = (await historyOf(actor, roomId, 'b', 50)).reverse()
      return [
        ...wrongState(follower, copy, state, knowledge),
        ...wrongTimeline(copy, history, knowledge.facts),
      ].map((each) => `${where}: ${each}`)
    }),
  )
  return [...follower.complaints, ...found.flat()]
}

function wrongState(
  { actor, options }: Follower,
  copy: Copy,
  state: ReadonlyMap<string, ClientEvent>,
  { own }: Knowledge,
): string[] {
  const found: string[] = []
  const joins = [...state.values()].filter(
    ({ type, content }) => type === 'm.room.member' && content['membership'] === 'join',
  )
  if (copy.joinedMembers !== joins.length)
    found.push(`was told of ${copy.joinedMembers} joined members, and there are ${joins.length}`)
  // Which membership is one's own also decides in which section the room is told.
  const me = copy.state.get(`m.room.member|${actor.userId}`)
  if (me?.membership !== 'join') found.push(`put together ${String(me?.membership)} for itself`)
  for (const key of new Set([...state.keys(), ...copy.state.keys()])) {
    const [said, put] = [state.get(key)?.event_id, copy.state.get(key)]
    const isMember = key.startsWith('m.room.member|')
    if (said === put?.eventId) continue
    if (options.lazy && isMember && put === undefined) continue
    const change = own?.change(key)
    if (said === undefined && isMember && put?.membership === 'leave') continue
    // Nothing can tell a client that a resolution took a key away, but of a member.
    if (said === undefined && !isMember && change?.gone) continue
    // Without state_after a client takes what the timeline sets for set, whatever a resolution made of
    // it by the end of the same answer; what changes later it is told.
    const setBy = copy.setByTimeline.get(key)
    if (setBy !== undefined && own && (!change || own.covers(setBy, change.position))) continue
    found.push(`put together ${put?.eventId} for ${key}, and it is ${said}`)
  }
  return found
}

function wrongTimeline(
  copy: Copy,
  events: readonly ClientEvent[],
  facts: ReadonlyMap<string, Fact>,
): string[] {
  const found: string[] = []
  const place = new Map(events.map(({ event_id: id }, index) => [id, index]))
  const unread = copy.timeline.filter((id) => !place.has(id))
  if (unread.length) found.push(`was told ${unread.join(' ')}, which is not in /messages`)
  const known = copy.timeline.filter((id) => place.has(id))
  for (const [index, id] of known.entries())
    if (index > 0 && place.get(id)! < place.get(known[index - 1]!)!)
      found.push(`was told ${id} after ${known[index - 1]}, which /messages reads later`)
  if (known.length === 0) return found
  const told = new Set(known)
  for (const event of events.slice(place.get(known[0]!)!)) {
    const { event_id: id, unsigned } = event
    const fact = facts.get(id)
    if (!told.has(id)) {
      if (fact?.position !== undefined && !cameBefore(event, events, facts))
        found.push(`was never told ${id}, ${JSON.stringify(fact)}`)
      continue
    }
    const redaction = unsigned?.redacted_because?.event_id
    if (redaction === undefined) continue
    // One that came as history is told to those who read history.
    if (facts.get(redaction)?.position === undefined) continue
    if (!copy.redacted.has(id) && !told.has(redaction))
      found.push(`was never told that ${id} is redacted by ${redaction}`)
  }
  return found
}

/**
 * v3+: a redaction that came before its target is withheld until the target is there, which a client then
 * gets as redacted.
 */
function cameBefore(
  { event_id: id, type }: ClientEvent,
  events: readonly ClientEvent[],
  facts: ReadonlyMap<string, Fact>,
): boolean {
  const target = type === 'm.room.redaction' ? facts.get(id)?.redacts : undefined
  if (target === undefined) return false
  const came = facts.get(target)?.position
  // History has no position: it may have come at any time.
  if (came !== undefined && came < facts.get(id)!.position!) return false
  const shown = events.find((each) => each.event_id === target)
  // Of a target that is soft-failed here clients have nothing that they could redact.
  return shown === undefined || shown.unsigned?.redacted_because !== undefined
}

import { expect, test } from 'bun:test'
import type { RoomEvent } from '#core/event/pdu.ts'
import type { JsonObject } from '#core/json.ts'
import { findConflicts } from '#core/state-res/conflicts.ts'
import { resolve } from '#core/state-res/resolve.ts'
import { run } from '#core/state-res/steps.ts'
import { makeEvent } from '#test/differential/make-event.ts'
import { versionOf } from '#test/builders.ts'
import { placeOf, RoomGraph } from '#test/differential/graph.ts'

const perBranch = 2_000
const creator = '@creator:a.example'

/** Two branches on each of which thousands come, and the same users on both. */
function forked(versionId: string) {
  const version = versionOf(versionId)
  let ts = 1
  const made = (
    create: RoomEvent | undefined,
    [type, stateKey]: readonly [type: string, stateKey: string],
    content: JsonObject,
    authEvents: string[],
  ) => {
    const roomId = create?.roomId ?? (version.createEventIsRoomId ? undefined : '!long:a.example')
    const sender = stateKey.startsWith('@') ? stateKey : creator
    const prevEvents = create ? [create.eventId] : []
    ts++
    const draft = { type, stateKey, sender, content, prevEvents, authEvents, depth: ts, ts }
    return makeEvent(version, roomId, draft)
  }
  const content: JsonObject = version.creatorInContent ? { creator } : {}
  const create = made(undefined, ['m.room.create', ''], content, [])
  const graph = new RoomGraph(create)
  const inRoom = (type: string, stateKey: string, content: JsonObject, auth: string[]) => {
    const cited = version.createEventIsRoomId ? auth : [create.eventId, ...auth]
    const event = made(create, [type, stateKey], content, cited)
    graph.add(event)
    return event.eventId
  }
  const own = inRoom('m.room.member', creator, { membership: 'join' }, [])
  const rules = inRoom('m.room.join_rules', '', { join_rule: 'public' }, [own])
  const trunk = new Map([
    [placeOf('m.room.create', ''), create.eventId],
    [placeOf('m.room.member', creator), own],
    [placeOf('m.room.join_rules', ''), rules],
  ])
  const states = [0, 1].map((branch) => {
    const state = new Map(trunk)
    for (let n = 0; n < perBranch; n++) {
      const user = `@user${n}:a.example`
      const content = { membership: 'join', branch }
      state.set(placeOf('m.room.member', user), inRoom('m.room.member', user, content, [rules]))
    }
    return graph.pack(state)
  })
  return { version, graph, states }
}

for (const id of ['1', '11', '12'])
  test(`a resolution of thousands of conflicts looks at few events between two turns, in version ${id}`, () => {
    const { version, graph, states } = forked(id)
    const resolution = run(graph.resolution(states, run(findConflicts(states))))
    let asked = 0
    const counted = {
      ...resolution,
      event: (nid: number) => {
        asked++
        return resolution.event(nid)
      },
    }
    let most = 0
    let all = 0
    const steps = resolve(version, counted)
    for (let next = steps.next(); ; next = steps.next()) {
      most = Math.max(most, asked)
      all += asked
      asked = 0
      if (!next.done) continue
      expect(next.value.size).toBe(perBranch)
      break
    }
    expect(all).toBeGreaterThan(2 * perBranch)
    expect(most).toBeLessThanOrEqual(1_100)
  })

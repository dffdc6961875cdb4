import { describe, expect, test } from 'bun:test'
import type { RoomEvent } from '#core/event/pdu.ts'
import { mainlineOf, mainlineOrder } from '#core/state-res/mainline.ts'
import { byTimeThenId } from '#core/state-res/order.ts'
import { isPowerEvent, powerOrder } from '#core/state-res/power-order.ts'
import type { Resolution } from '#core/state-res/resolvable.ts'
import { run } from '#core/state-res/steps.ts'
import { alice, bob, Stage, versions } from '#test/core/auth/stage.ts'
import { Random } from '#test/differential/random.ts'

const version = versions.find(({ id }) => id === '10')!
const stage = new Stage(version)

/** Events of senders whose power is their number, in a world of one power levels each. */
function world(random: Random, size: number) {
  const levels = stage.event({
    type: 'm.room.power_levels',
    stateKey: '',
    sender: alice,
    content: {
      users: {
        '@0:a': 0,
        '@1:a': 1,
        '@2:a': 2,
      },
    },
  })
  const events = Array.from({ length: size }, (_, nid): RoomEvent => {
    const sender = `@${random.below(3)}:a`
    const event = stage.event({ type: 'x', stateKey: `${nid}`, sender, ts: random.below(4) })
    return event
  })
  const resolution: Pick<Resolution, 'create' | 'event' | 'powerLevelsOf'> = {
    create: stage.create,
    event: (nid) => ({ key: 0, event: events[nid] ?? levels, auth: [], rejected: false }),
    powerLevelsOf: () => size,
  }
  return { events, resolution: resolution as Resolution }
}

describe('the order of power', () => {
  test('takes at each point the smallest of those that nothing open holds back', () => {
    for (let seed = 0; seed < 200; seed++) {
      const random = new Random(seed)
      const size = 1 + random.below(25)
      const { events, resolution } = world(random, size)
      const edges = new Map(
        events.map((_, nid) => [
          nid,
          [...new Set(Array.from({ length: random.below(3) }, () => random.below(nid + 1)))].filter(
            (auth) => auth < nid,
          ),
        ]),
      )
      const order: number[] = []
      while (order.length < size) {
        const open = [...edges.keys()].filter(
          (nid) => !order.includes(nid) && edges.get(nid)!.every((auth) => order.includes(auth)),
        )
        open.sort(
          (a, b) =>
            events[b]!.sender.localeCompare(events[a]!.sender) ||
            byTimeThenId(events[a]!, events[b]!),
        )
        order.push(open[0]!)
      }
      const shuffled = new Map(random.shuffle([...edges]))
      expect(run(powerOrder(shuffled, resolution))).toEqual(order)
    }
  })

  test('compares IDs by code point, as other languages do', () => {
    const named = (eventId: string) => ({ ...stage.create, eventId })
    expect(byTimeThenId(named('$a'), named('$b'))).toBeLessThan(0)
    expect(byTimeThenId(named('$\ufb01'), named('$😀'))).toBeLessThan(0)
    expect(byTimeThenId(named('$😀'), named('$\ufb01'))).toBeGreaterThan(0)
    expect(byTimeThenId(named('$a'), named('$a'))).toBe(0)
  })
})

test.each([
  ['m.room.power_levels', '', {}, true],
  ['m.room.power_levels', 'other', {}, false],
  ['m.room.join_rules', '', {}, true],
  ['m.room.member', bob, { membership: 'ban' }, true],
  ['m.room.member', bob, { membership: 'leave' }, true],
  ['m.room.member', alice, { membership: 'leave' }, false],
  ['m.room.member', bob, { membership: 'invite' }, false],
  ['m.room.topic', '', {}, false],
] as const)('%s of %j with %j is a power event: %p', (type, stateKey, content, expected) => {
  expect(isPowerEvent(stage.event({ type, stateKey, sender: alice, content }))).toBe(expected)
})

test('the mainline order is that of the definition, in random chains', () => {
  for (let seed = 0; seed < 200; seed++) {
    const random = new Random(seed)
    const size = 1 + random.below(25)
    const { events, resolution } = world(random, size)
    // Every event may rest on an earlier one, as if all were power levels.
    const below = events.map((_, nid) =>
      nid === 0 || random.chance(0.2) ? undefined : random.below(nid),
    )
    const powerLevelsOf = (nid: number) => below[nid]
    const start = random.chance(0.1) ? undefined : random.below(size)
    const mainline: number[] = []
    for (let nid = start; nid !== undefined; nid = below[nid]) mainline.push(nid)
    const position = (nid: number) => {
      for (let next = below[nid]; next !== undefined; next = below[next])
        if (mainline.includes(next)) return mainline.indexOf(next)
      return 1000
    }
    const nids = events.map((_, nid) => nid)
    const expected = nids.toSorted(
      (a, b) => position(b) - position(a) || byTimeThenId(events[a]!, events[b]!),
    )
    const given = { ...resolution, powerLevelsOf }
    const places = run(mainlineOf(start, given))
    expect([...places.keys()]).toEqual(mainline)
    expect(run(mainlineOrder(random.shuffle(nids), places, given))).toEqual(expected)
  }
})

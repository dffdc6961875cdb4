import { describe, expect, test } from 'bun:test'
import { Typing, type TypingLimits } from '#engine/live/typing.ts'

const room = { shard: 1, roomNid: 7, roomId: '!room:here.example' }
const alice = '@alice:here.example'

function begin(limits: Partial<TypingLimits> = {}) {
  const told: [string, boolean][] = []
  const changed: number[] = []
  const time = { now: 1_000 }
  const typing = new Typing({
    serverName: 'here.example',
    clock: () => time.now,
    epoch: 1,
    onChange: (roomNid) => changed.push(roomNid),
    onOwn: (_, userId, types) => told.push([userId, types]),
    limits,
  })
  return { typing, told, changed, time }
}

describe('who types', () => {
  test('is told once, and again only after a while', () => {
    const { typing, told, changed, time } = begin()
    typing.start(room, alice, 20_000)
    time.now += 10_000
    typing.start(room, alice, 60_000)
    expect(told).toEqual([[alice, true]])
    time.now += 25_000
    typing.start(room, alice, 60_000)
    expect(told).toEqual([
      [alice, true],
      [alice, true],
    ])
    expect(changed).toEqual([7])
    typing.close()
  })

  test('is over when its time is, and no sooner', () => {
    const { typing, told, time } = begin()
    typing.start(room, alice, 20_000)
    time.now += 19_999
    typing.sweep()
    expect(typing.find(7)).toEqual({ at: 1, userIds: [alice] })
    time.now += 1
    typing.sweep()
    expect(typing.find(7)).toEqual({ at: 2, userIds: [] })
    expect(told.at(-1)).toEqual([alice, false])
  })

  test('does not type for days at a word', () => {
    const { typing, time } = begin()
    typing.start(room, alice, Number.MAX_SAFE_INTEGER)
    time.now += 300_000
    typing.sweep()
    expect(typing.find(7)?.userIds).toEqual([])
  })

  test('of other servers is told to nobody else, and ends by itself', () => {
    const { typing, told, time } = begin()
    typing.startRemote(room, '@bob:there.example')
    time.now += 60_000
    typing.sweep()
    expect(typing.find(7)?.userIds).toEqual([])
    expect(told).toEqual([])
  })

  test('stops once', () => {
    const { typing, told, changed } = begin()
    typing.stop(room, alice)
    typing.start(room, alice, 1_000)
    typing.stop(room, alice)
    typing.stop(room, alice)
    expect([told.length, changed.length]).toEqual([2, 2])
    typing.close()
  })

  test('is bounded in a room and in all', () => {
    const { typing } = begin({ perRoom: 2, rooms: 2 })
    for (const name of ['a', 'b', 'c']) typing.startRemote(room, `@${name}:there.example`)
    expect(typing.find(7)?.userIds).toHaveLength(2)
    for (const roomNid of [8, 9]) typing.startRemote({ ...room, roomNid }, '@a:there.example')
    expect([typing.find(7), typing.find(8)?.at, typing.find(9)?.at]).toEqual([undefined, 3, 4])
    typing.close()
  })
})

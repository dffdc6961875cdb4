import { expect, test } from 'bun:test'
import { Typing } from '#engine/live/typing.ts'
import { readTyping } from '#engine/sync/typing.ts'

const room = { shard: 0, roomNid: 64, roomId: '!room:here.test' }
const alice = '@alice:here.test'

test('a list that filled and emptied again is told to a token from before anybody typed', () => {
  const typing = new Typing({
    serverName: 'here.test',
    clock: () => 0,
    epoch: 7,
    onChange: () => {},
    onOwn: () => {},
  })
  const place = { ...room, membership: 'join' } as never
  const read = (since: Parameters<typeof readTyping>[4]) =>
    readTyping(typing, [place], () => true, new Set(), since)
  const first = read(undefined)
  expect([...first.rooms]).toEqual([])
  typing.start(room, alice, 10_000)
  const content = (...userIds: string[]) => [
    [room.roomNid, { type: 'm.typing', content: { user_ids: userIds } }] as never,
  ]
  expect([...read(first.point).rooms]).toEqual(content(alice))
  typing.stop(room, alice)
  expect([...read(first.point).rooms]).toEqual(content())
  expect([...read(read(first.point).point).rooms]).toEqual([])
})

import { expect, test } from 'bun:test'
import type { HistoryVisibility } from '#core/content/m.room.history_visibility.ts'
import type { Membership } from '#core/content/m.room.member.ts'
import { isVisible, isVisibleToServer, type SeenEvent } from '#core/visibility.ts'

const visibilities: HistoryVisibility[] = ['world_readable', 'shared', 'invited', 'joined']
const memberships: (Membership | undefined)[] = [
  'join',
  'invite',
  'knock',
  'leave',
  'ban',
  undefined,
]
const alice = '@alice:hs1'

const message: SeenEvent = { type: 'm.room.message', stateKey: undefined, content: {} }
const member = (membership: string, user = alice): SeenEvent => ({
  type: 'm.room.member',
  stateKey: user,
  content: { membership },
})
const visibility = (history_visibility: string): SeenEvent => ({
  type: 'm.room.history_visibility',
  stateKey: '',
  content: { history_visibility },
})

/** Which memberships see an event, by the visibility before it. */
const seers = (event: SeenEvent, joinedSince: boolean) =>
  Object.fromEntries(
    visibilities.map((before) => [
      before,
      memberships
        .filter((membership) =>
          isVisible(event, alice, { visibility: before, membership, joinedSince }),
        )
        .join(' '),
    ]),
  )

const all = memberships.join(' ')

test('a message is seen by those who were there, as far as the visibility at it lets them', () => {
  expect(seers(message, false)).toEqual({
    world_readable: all,
    shared: 'join',
    invited: 'join invite',
    joined: 'join',
  })
})

test('who joins later sees only what was shared', () => {
  expect(seers(message, true)).toEqual({
    world_readable: all,
    shared: all,
    invited: 'join invite',
    joined: 'join',
  })
})

test('a change of visibility is seen if the one before or the one after would do', () => {
  expect(seers(visibility('world_readable'), false)).toEqual({
    world_readable: all,
    shared: all,
    invited: all,
    joined: all,
  })
  expect(seers(visibility('joined'), false)).toEqual(seers(message, false))
  expect(seers(visibility('invited'), false)['joined']).toBe('join invite')
  // What is not understood is `shared`.
  expect(seers(visibility('nonsense'), true)['joined']).toBe(all)
  // Only the room's own setting counts.
  expect(seers({ ...visibility('world_readable'), stateKey: 'x' }, false)).toEqual(
    seers(message, false),
  )
})

test('one’s own membership is seen if the one before or the one after would do', () => {
  expect(seers(member('join'), false)).toEqual({
    world_readable: all,
    shared: all,
    invited: all,
    joined: all,
  })
  // Who was joined sees how that ended.
  expect(seers(member('ban'), false)['joined']).toBe('join')
  expect(seers(member('invite'), false)).toMatchObject({ invited: all, joined: 'join' })
  expect(seers(member('leave'), false)).toEqual(seers(message, false))
  // That of others is an event like any other.
  expect(seers(member('join', '@bob:hs1'), false)).toEqual(seers(message, false))
})

test('a server gets what one of its users might see', () => {
  const gets = (...of: Membership[]) => visibilities.filter((each) => isVisibleToServer(each, of))
  expect(gets()).toEqual(['world_readable', 'shared'])
  expect(gets('leave', 'knock', 'ban')).toEqual(['world_readable', 'shared'])
  expect(gets('leave', 'invite')).toEqual(['world_readable', 'shared', 'invited'])
  expect(gets('leave', 'join')).toEqual(visibilities)
})

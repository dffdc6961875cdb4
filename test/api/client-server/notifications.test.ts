import { describe, expect, test } from 'bun:test'
import { pushFacts } from '#core/push/facts.ts'
import { testDatabase } from '#test/database.ts'
import { Home, type Person } from './home.ts'

const db = await testDatabase()
const home = await Home.open(db)

const notify = { pushFlags: pushFacts.notify }
const loud = { pushFlags: pushFacts.notify | pushFacts.highlight }

type Listed = {
  event: { event_id: string; content: { body: string }; room_id?: string }
  room_id: string
  read: boolean
  ts: number
  actions: unknown[]
}

const list = async (who: Person, query = '') => {
  const { status, body } = await who.client.get(`/notifications${query}`)
  expect({ status, body }).toMatchObject({ status: 200 })
  return body as { notifications: Listed[]; next_token?: string }
}
const bodies = (answer: { notifications: Listed[] }) =>
  answer.notifications.map(({ event }) => event.content.body)

async function scene() {
  const [alice, bob] = [await home.person('alice'), await home.person('bob')]
  const room = await home.story.room(alice.userId)
  await room.member(bob.userId, 'join')
  return { alice, bob, room }
}

describe('the list of notifications', () => {
  test('has what others sent that notifies, the newest first, page by page', async () => {
    const { alice, bob, room } = await scene()
    const other = await home.story.room(bob.userId)
    await other.send(bob.userId, 'before the join', notify)
    await other.member(alice.userId, 'join')
    for (let count = 0; count < 7; count++)
      await (count % 2 ? room : other).send(bob.userId, `${count}`, notify)
    await room.send(alice.userId, 'own', notify)
    await room.tell(bob.userId, 'm.room.message', { msgtype: 'm.notice', body: 'notice' })
    const seen: string[] = []
    let from = ''
    for (let page = 0; page < 4; page++) {
      const answer = await list(alice, `?limit=3${from}`)
      seen.push(...bodies(answer))
      if (answer.next_token === undefined) break
      from = `&from=${encodeURIComponent(answer.next_token)}`
    }
    expect(seen).toEqual(['6', '5', '4', '3', '2', '1', '0'])
    const [first] = (await list(alice, '?limit=1')).notifications
    expect(first).toMatchObject({
      room_id: other.roomId,
      read: false,
      actions: ['notify', { set_tweak: 'sound', value: 'default' }],
    })
    expect(first!.event.room_id).toBeUndefined()
    expect(bodies(await list(bob))).toEqual(['own'])
  })

  test('tells what was read, and of highlights alone if that is wanted', async () => {
    const { alice, bob, room } = await scene()
    const { eventId } = await room.send(bob.userId, 'plain', notify)
    await room.tell(
      bob.userId,
      'm.room.message',
      { msgtype: 'm.text', body: 'named', 'm.mentions': { user_ids: [alice.userId] } },
      { ...loud, mentions: [alice.userId] },
    )
    await alice.client.post(
      `/rooms/${encodeURIComponent(room.roomId)}/receipt/m.read/${encodeURIComponent(eventId)}`,
      {},
    )
    const all = await list(alice)
    expect(all.notifications.map(({ read, event }) => [event.content.body, read])).toEqual([
      ['named', false],
      ['plain', true],
    ])
    expect(bodies(await list(alice, '?only=highlight'))).toEqual(['named'])
  })

  test('leaves out what was taken back, whom the user ignores, and rooms that were left', async () => {
    const { alice, bob, room } = await scene()
    const carol = await home.person('carol')
    await room.member(carol.userId, 'join')
    const { eventId } = await room.send(bob.userId, 'taken back', notify)
    await room.tell(bob.userId, 'm.room.redaction', { redacts: eventId }, { redacts: eventId })
    await room.send(carol.userId, 'ignored', notify)
    await room.send(bob.userId, 'kept', notify)
    await alice.client.put(
      `/user/${encodeURIComponent(alice.userId)}/account_data/m.ignored_user_list`,
      { ignored_users: { [carol.userId]: {} } },
    )
    expect(bodies(await list(alice))).toEqual(['kept'])
    await room.member(alice.userId, 'leave')
    expect(await list(alice)).toEqual({ notifications: [] })
  })

  test('goes by the user’s own rules', async () => {
    const { alice, bob, room } = await scene()
    await alice.client.put('/pushrules/global/content/tea', {
      pattern: 'tea',
      actions: ['notify', { set_tweak: 'highlight' }],
    })
    await alice.client.put(`/pushrules/global/room/${encodeURIComponent(room.roomId)}`, {
      actions: [],
    })
    await room.send(bob.userId, 'some tea?', notify)
    await room.send(bob.userId, 'or coffee', notify)
    expect(bodies(await list(alice, '?only=highlight'))).toEqual(['some tea?'])
    expect(bodies(await list(alice))).toEqual(['some tea?'])
  })

  test.each([
    '?from=x',
    '?from=1_2_3',
    '?from=99999999999999999999_1',
    '?limit=0',
    '?limit=-1',
    '?limit=x',
  ])('is refused for %s', async (query) => {
    const { alice } = await scene()
    const { status, body } = await alice.client.get(`/notifications${query}`)
    expect([status, body.errcode]).toEqual([400, 'M_INVALID_PARAM'])
  })

  test('is nobody else’s', async () => {
    const { status, body } = await home.client.get('/notifications')
    expect([status, body.errcode]).toEqual([401, 'M_MISSING_TOKEN'])
  })
})

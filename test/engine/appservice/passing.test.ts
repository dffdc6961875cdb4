import { describe, expect, test } from 'bun:test'
import { testDatabase } from '#test/database.ts'
import { until } from '#test/until.ts'
import { Bridging, openListener, registered } from './bridging.ts'

const db = await testDatabase()
const [stable, unstable, plain] = [openListener(), openListener(), openListener()]
const irc = registered('irc', stable.url, { receive_ephemeral: true })
const sms = registered('sms', unstable.url, { 'de.sorunome.msc2409.push_ephemeral': true })
const none = registered('none', plain.url)
const bridging = await Bridging.open(db, [irc, sms, none])
const { home } = bridging
const alice = await home.person('alice')
const [ghost, phone, quiet] = [
  await bridging.ghost(irc, 'ghost'),
  await bridging.ghost(sms, 'phone'),
  await bridging.ghost(none, 'quiet'),
]

type Passing = { type: string; room_id?: string; sender?: string; content: Record<string, any> }
const heardBy = { irc: 'ephemeral', sms: 'de.sorunome.msc2409.ephemeral' } as const
const passing = (listener: typeof stable, key: keyof typeof heardBy, type: string): Passing[] =>
  listener.all<Passing>(heardBy[key]).filter((event) => event.type === type)

/** A room of all of them, and one of which none knows. */
async function rooms() {
  const room = await home.story.room(alice.userId)
  for (const userId of [ghost, phone, quiet]) await room.member(userId, 'join')
  const own = await home.story.room(alice.userId)
  await bridging.followed()
  return { room, own }
}

const pathOf = (roomId: string, rest: string) => `/rooms/${encodeURIComponent(roomId)}/${rest}`

describe('what passes', () => {
  test('is told of typing where an application service has users', async () => {
    const { room, own } = await rooms()
    for (const { roomId } of [own, room])
      await alice.client.put(pathOf(roomId, `typing/${alice.userId}`), {
        typing: true,
        timeout: 9_000,
      })
    const isTold = ({ room_id: id, content }: Passing) =>
      id === room.roomId && content['user_ids'].includes(alice.userId)
    await until(() => passing(stable, 'irc', 'm.typing').some(isTold))
    await until(() => passing(unstable, 'sms', 'm.typing').some(isTold))
    await alice.client.put(pathOf(room.roomId, `typing/${alice.userId}`), { typing: false })
    await until(() =>
      passing(stable, 'irc', 'm.typing').some(
        ({ room_id: id, content }) => id === room.roomId && content['user_ids'].length === 0,
      ),
    )
    expect(passing(stable, 'irc', 'm.typing').map((event) => event.room_id)).not.toContain(
      own.roomId,
    )
    // Under one name only.
    expect(unstable.all('ephemeral')).toEqual([])
    expect(stable.all('de.sorunome.msc2409.ephemeral')).toEqual([])
  })

  test('is told of receipts: private ones are of its own users alone', async () => {
    const { room } = await rooms()
    const { eventId } = await room.send(alice.userId, 'read me')
    await bridging.followed()
    const path = (type: string) =>
      pathOf(room.roomId, `receipt/${type}/${encodeURIComponent(eventId)}`)
    await alice.client.post(path('m.read.private'), {})
    await alice.client.post(path('m.read'), { thread_id: 'main' })
    const acting = (userId: string) => `?user_id=${encodeURIComponent(userId)}`
    await home.client.as(irc.asToken).post(path('m.read.private') + acting(ghost), {})
    const users = (
      key: 'm.read' | 'm.read.private',
      listener = stable,
      of: 'irc' | 'sms' = 'irc',
    ) =>
      passing(listener, of, 'm.receipt').flatMap(({ room_id: id, content }) =>
        id === room.roomId ? Object.keys(content[eventId]?.[key] ?? {}) : [],
      )
    await until(() => users('m.read').length > 0 && users('m.read.private').length > 0)
    await until(() => users('m.read', unstable, 'sms').length > 0)
    await bridging.followed()
    expect(new Set(users('m.read'))).toEqual(new Set([alice.userId]))
    expect(new Set(users('m.read.private'))).toEqual(new Set([ghost]))
    expect(users('m.read.private', unstable, 'sms')).toEqual([])
    const receipt = passing(stable, 'irc', 'm.receipt').find(
      ({ content }) => content[eventId]?.['m.read'],
    )!
    expect(receipt.content[eventId]['m.read'][alice.userId]).toEqual({
      ts: home.now,
      thread_id: 'main',
    })
  })

  test('keeps receipts over a restart, the newest alone', async () => {
    const { room } = await rooms()
    const first = await room.send(alice.userId, 'first')
    const second = await room.send(alice.userId, 'second')
    await until(() => stable.texts.includes('second'))
    const held = Promise.withResolvers<Response>()
    const before = stable.transactions.length
    stable.take = () => held.promise
    await room.send(alice.userId, 'held')
    await until(() => stable.transactions.length > before)
    for (const { eventId } of [first, second])
      await alice.client.post(
        pathOf(room.roomId, `receipt/m.read/${encodeURIComponent(eventId)}`),
        {},
      )
    await bridging.followed()
    stable.take = () => Response.json({})
    held.resolve(Response.json({}))
    await bridging.restart()
    const told = () =>
      passing(stable, 'irc', 'm.receipt').flatMap(({ room_id: id, content }) =>
        id === room.roomId ? Object.keys(content) : [],
      )
    await bridging.later(() => told().length > 0)
    expect(new Set(told())).toEqual(new Set([second.eventId]))
  })

  test('is told who is there, of those it shares a room with', async () => {
    await rooms()
    const carol = await home.person('carol')
    for (const who of [carol, alice])
      await who.client.put(`/presence/${who.userId}/status`, {
        presence: 'online',
        status_msg: 'tea',
      })
    const senders = () => passing(stable, 'irc', 'm.presence').map(({ sender }) => sender)
    await until(() => senders().includes(alice.userId))
    const told = passing(stable, 'irc', 'm.presence').find(({ sender }) => sender === alice.userId)!
    expect(told.content).toMatchObject({ presence: 'online', status_msg: 'tea' })
    expect(senders()).not.toContain(carol.userId)
  })

  test('is no business of who did not ask for it', async () => {
    expect(plain.transactions.length).toBeGreaterThan(0)
    for (const { body } of plain.transactions) expect(Object.keys(body)).toEqual(['events'])
  })
})

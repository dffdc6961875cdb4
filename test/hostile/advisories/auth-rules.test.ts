import { afterAll, expect, test } from 'bun:test'
import { eventFlags } from '#store/room/batch.ts'
import { type Made, MadeUpRoom } from '#test/builders.ts'
import { adopt, setState, stored, until } from '#test/room-engine.ts'
import { besiege, evil, good, mallory, type Siege } from '#test/hostile/siege.ts'

/** What a rule forbids, made by who knows how; the event is otherwise as it should be. */
type Break = (room: MadeUpRoom, siege: Siege) => Made | Promise<Made>
const aside = { aside: true }
const idsOf = (room: MadeUpRoom, ...keys: string[]) =>
  keys.map((key) => room.state.get(key)!.eventId)
/** The right auth events of a message of mallory. */
const right = (room: MadeUpRoom) => room.make(mallory, 'm.room.message', {}).event.authEvents
const levels = { users: { '@alice:us.test': 100 } }
const adoptRoom = (siege: Siege) => adopt(siege.database, siege.roomId, evil, good)
const say = (room: MadeUpRoom, auth: readonly string[]) =>
  room.say(mallory, 'x', { auth, ...aside })

const rules: [rule: string, version: string, make: Break][] = [
  ['2.1 an auth event twice', '9', (room) => say(room, [...right(room), right(room)[0]!])],
  [
    '2.1 two of a kind',
    '9',
    async (room, siege) => {
      const [old] = idsOf(room, 'm.room.power_levels ')
      await setState(siege, siege.roomId, 'm.room.power_levels', levels)
      return say(room, [...right(await adoptRoom(siege)), old!])
    },
  ],
  [
    '2.2 one that is not asked for',
    '9',
    (room) => say(room, [...right(room), ...idsOf(room, 'm.room.join_rules ')]),
  ],
  [
    '2.3 one that was rejected',
    '9',
    async (room, siege) => {
      const content = { users: { [mallory]: 100 } }
      const coup = room.add(mallory, 'm.room.power_levels', content, { stateKey: '', ...aside })
      await siege.attack([coup.text])
      await until(async () => (await siege.inboxed()) === 0)
      const levels = room.state.get('m.room.power_levels ')!.eventId
      return say(
        room,
        right(room).map((id) => (id === levels ? coup.event.eventId : id)),
      )
    },
  ],
  [
    '2.4 no create event',
    '9',
    (room) =>
      say(
        room,
        right(room).filter((id) => id !== idsOf(room, 'm.room.create ')[0]),
      ),
  ],
  [
    '4.1 a membership without a state key',
    '9',
    (room) => room.add(mallory, 'm.room.member', { membership: 'join' }, aside),
  ],
  [
    '4.1 a membership that is none',
    '9',
    (room) => room.add(mallory, 'm.room.member', {}, { stateKey: mallory, ...aside }),
  ],
  [
    '4.2 a join in the name of another',
    '9',
    (room) => room.member(mallory, evil.user('other'), 'join', aside),
  ],
  [
    '8 state in the name of another user',
    '9',
    (room) => room.add(mallory, 'org.example.mine', {}, { stateKey: good.user('carol'), ...aside }),
  ],
  [
    'a message of who is not there',
    '9',
    (room) => room.say(evil.user('ghost'), 'boo', { auth: right(room).slice(0, 2), ...aside }),
  ],
  [
    '2.2 a create event since version 12',
    '12',
    (room) => say(room, [...right(room), room.state.get('m.room.create ')!.eventId]),
  ],
]

/** One room of each version for all rules: what breaks one of them leaves nothing behind. */
const sieges = new Map<string, Siege>()
afterAll(() => Promise.all([...sieges.values()].map((siege) => siege.stop())))

async function siegeOf(version: string): Promise<Siege> {
  const siege = sieges.get(version) ?? (await besiege({ version }))
  sieges.set(version, siege)
  return siege
}

test.each(rules)(
  'CVE-2022-31152: what auth rule %s (version %s) forbids is rejected, and what comes beside it is not',
  async (_rule, version, make) => {
    const siege = await siegeOf(version)
    await setState(siege, siege.roomId, 'm.room.topic', { topic: 'ours' })
    const room = await adoptRoom(siege)
    const bad = await make(room, siege)
    const fine = room.say(mallory, 'fine', { prev: room.heads })
    await siege.attack([bad.text, fine.text])
    await until(async () => (await siege.inboxed()) === 0)
    const flagsOf = async ({ event }: Made) =>
      (await stored(siege.database, siege.roomId, event.eventId))?.flags
    expect([await flagsOf(bad), await flagsOf(fine)]).toEqual([eventFlags.rejected, 0])
    const now = await adoptRoom(siege)
    expect(now.heads).not.toContain(bad.event.eventId)
    await siege.othersGoOn(() => true)
  },
)

test('CVE-2022-31152: an auth event of another room (2.5) is not to be had in this one, though we know it', async () => {
  await using siege = await besiege({
    version: '9',
    limits: { attempts: 2, retryMs: 5, inboxPollMs: 5 },
  })
  const { room, calm } = siege
  const [own] = idsOf(room, 'm.room.power_levels ')
  const [theirs] = idsOf(calm, 'm.room.power_levels ')
  const bad = say(
    room,
    right(room).map((id) => (id === own ? theirs! : id)),
  )
  await siege.attack([bad.text])
  await until(async () => (await siege.inboxed()) === 0)
  expect(await stored(siege.database, siege.roomId, bad.event.eventId)).toBeUndefined()
  await siege.othersGoOn(() => true)
})

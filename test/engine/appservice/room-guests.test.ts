import { expect, test } from 'bun:test'
import { Follows } from '#engine/appservice/follows.ts'
import { RoomGuests } from '#engine/appservice/room-guests.ts'
import { Random } from '#test/core/random.ts'
import { testDatabase } from '#test/database.ts'
import { Story, type StoryRoom } from '#test/engine/read/story.ts'
import { registered } from './bridging.ts'

const db = await testDatabase()
const story = await Story.begin(db.pool)
const appservices = [registered('irc', null), registered('sms', null)]
const follows = new Follows(
  appservices.map((appservice, nid) => ({ nid, appservice })),
  [0, 1],
)
const users = ['_irc_a', '_irc_b', '_sms_c', 'alice'].map((name) => `@${name}:here.example`)

test('whose users are in a room is right at every position, however it was found out', async () => {
  const random = new Random(20_261_125)
  for (let play = 0; play < 6; play++) {
    const rooms = await Promise.all([story.room('@alice:here.example'), story.room(users[0]!)])
    const joined = new Map(
      rooms.map((room) => [room, new Set([room === rooms[1] ? users[0]! : ''])]),
    )
    /** Where each room is after each of its changes. */
    const truth: { room: StoryRoom; position: number; places: Set<number> }[] = []
    const cursors = new Map<number, number>()
    const last = new Map<number, number>()
    for (const { shard } of rooms) {
      cursors.set(shard, story.positions.roomsAt(shard))
      last.set(shard, story.positions.roomsAt(shard))
    }
    const guests = new RoomGuests(db.pool, 'here.example', follows, (shard) => cursors.get(shard))
    for (let step = 0; step < 24; step++) {
      const room = random.pick(rooms)
      const user = random.pick(users)
      const there = joined.get(room)!
      if (there.has(user)) there.delete(user)
      else there.add(user)
      await room.member(user, there.has(user) ? 'join' : 'leave')
      const position = story.positions.roomsAt(room.shard)
      const places = new Set([...there].flatMap((id) => (id === '' ? [] : follows.ofUser(id))))
      truth.push({ room, position, places })
      last.set(room.shard, position)
      if (random.below(3) === 0) await guests.now([{ shard: room.shard, room_nid: room.roomNid }])
      if (random.below(5) === 0) guests.forget()
      if (random.below(4) !== 0) continue
      // A batch of some of the shards.
      const named = rooms.filter(() => random.below(4) !== 0)
      const rolling = await guests.roll(
        named.map(({ shard, roomNid }) => ({ shard, room_nid: roomNid })),
        (shard) => cursors.get(shard)!,
        (shard) => last.get(shard)!,
      )
      for (const { room: each, position: at, places: right } of truth)
        if (named.includes(each) && at > cursors.get(each.shard)!)
          expect(new Set(rolling.at(each.roomNid, at))).toEqual(right)
      rolling.end()
      for (const { shard } of rooms) cursors.set(shard, last.get(shard)!)
    }
  }
})

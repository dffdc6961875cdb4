import { expect, test } from 'bun:test'
import { testDatabase } from '#test/database.ts'
import { Story, type StoryRoom } from '#test/engine/read/story.ts'
import { type Ask, type Answer, SlidingClients } from './client.ts'

const db = await testDatabase()
const story = await Story.begin(db.pool)
const clients = new SlidingClients(story)

/** Numbers that look random and are the same in each run. */
function randomFrom(seed: number) {
  let state = seed
  return (below: number): number => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
    return Math.floor((state / 2 ** 32) * below)
  }
}

/** What a client makes of what it is told. */
class Model {
  pos: string | undefined
  readonly rooms = new Map<string, { ids: string[]; topic: unknown; membership: unknown }>()

  take(userId: string, { pos, rooms }: Answer): void {
    this.pos = pos
    for (const [roomId, told] of Object.entries(rooms)) {
      const known = told.initial ? undefined : this.rooms.get(roomId)
      const room = known ?? { ids: [], topic: undefined, membership: undefined }
      this.rooms.set(roomId, room)
      if (told.invite_state) room.membership = 'invite'
      for (const { type, state_key: key, content } of told.required_state ?? []) {
        if (type === 'm.room.topic') room.topic = content['topic']
        if (type === 'm.room.member' && key === userId) room.membership = content['membership']
      }
      const ids = (told.timeline ?? []).map((event) => event.event_id)
      if (told.limited || told.unstable_expanded_timeline) room.ids = ids
      else room.ids.push(...ids)
    }
  }
}

for (const seed of [1, 2, 3])
  test(`whatever a client asks for and loses, it ends up with what there is (${seed})`, async () => {
    const random = randomFrom(seed)
    const [alice, bob] = [`@alice:${seed}.example`, `@bob${seed}:here.example`]
    const rooms: StoryRoom[] = []
    const truth = new Map<StoryRoom, { ids: string[]; topic: string | undefined; in: string }>()
    for (let each = 0; each < 6; each++) {
      const room = await story.room(alice)
      await room.member(bob, 'join')
      rooms.push(room)
      truth.set(room, { ids: [], topic: undefined, in: 'join' })
    }
    const model = new Model()
    let count = 0
    const happen = async () => {
      const room = rooms[random(rooms.length)]!
      const known = truth.get(room)!
      const what = random(10)
      if (what === 0 && known.in !== 'join') {
        known.in = 'join'
        known.ids.push((await room.member(bob, 'join')).eventId)
      } else if (what === 1 && known.in === 'join') {
        known.in = 'leave'
        known.ids.push((await room.member(bob, 'leave')).eventId)
      } else if (what < 4) {
        const topic = `topic ${++count}`
        known.topic = topic
        known.ids.push((await room.state(alice, 'm.room.topic', '', { topic })).eventId)
      } else {
        known.ids.push((await room.send(alice, `text ${++count}`)).eventId)
      }
    }
    const required: [string, string][] = [
      ['m.room.topic', ''],
      ['m.room.member', '$ME'],
    ]
    const someAsk = (): Ask => {
      const low = random(3)
      const subscribed = rooms[random(rooms.length)]!
      return {
        lists: { some: { ranges: [[low, low + random(4)]], required, limit: 1 + random(4) } },
        ...(random(2) === 0 && {
          subscriptions: { [subscribed.roomId]: { required, limit: 1 + random(6) } },
        }),
      }
    }
    for (let round = 0; round < 40; round++) {
      for (let each = random(4); each > 0; each--) await happen()
      const answer = await clients.ask(bob, { ...someAsk(), pos: model.pos })
      // One in four answers is lost.
      if (random(4) > 0) model.take(bob, answer)
    }
    const all: Ask = { lists: { all: { required, limit: 5 } } }
    model.take(bob, await clients.ask(bob, { ...all, pos: model.pos }))
    expect((await clients.ask(bob, { ...all, pos: model.pos })).rooms).toEqual({})
    for (const room of rooms) {
      const known = truth.get(room)!
      const told = model.rooms.get(room.roomId)
      if (known.in !== 'join') {
        expect(told?.membership ?? 'leave').toBe('leave')
        continue
      }
      expect([told?.membership, told?.topic]).toEqual(['join', known.topic])
      const shown = told!.ids.slice(-known.ids.length)
      expect(shown.length).toBeGreaterThan(0)
      expect(shown).toEqual(known.ids.slice(-shown.length))
    }
  })

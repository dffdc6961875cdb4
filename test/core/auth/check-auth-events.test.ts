import { describe, expect, test } from 'bun:test'
import { checkAuthEvents } from '#core/auth/authorize.ts'
import type { RoomEvent } from '#core/event/pdu.ts'
import { makeEvent, type Draft } from '#test/differential/make-event.ts'
import { alice, creator, from, Stage, until, versions, wordsOf } from './stage.ts'

/** A stage whose events can be cited, and rejected. */
class Citations extends Stage {
  readonly events = new Map<string, RoomEvent>()
  readonly rejected = new Set<string>()
  readonly levelsEvent = this.keep({ type: 'm.room.power_levels', stateKey: '', sender: creator })
  readonly memberEvent = this.keep({
    type: 'm.room.member',
    stateKey: creator,
    sender: creator,
    content: { membership: 'join' },
  })

  keep(offer: Partial<Draft> & { type: string; sender: string }): RoomEvent {
    const event = this.event(offer)
    this.events.set(event.eventId, event)
    return event
  }

  /** What the selection asks of a topic by the creator. */
  get right(): string[] {
    const ids = [this.levelsEvent.eventId, this.memberEvent.eventId]
    return this.version.createEventIsRoomId ? ids : [this.create.eventId, ...ids]
  }

  check(authEvents: string[], offer: Partial<Draft> = {}): string {
    this.events.set(this.create.eventId, this.create)
    const topic = { type: 'm.room.topic', stateKey: '', sender: creator, authEvents, ...offer }
    const find = (id: string) => this.events.get(id)
    return wordsOf(checkAuthEvents(this.event(topic), find, (id) => this.rejected.has(id)))
  }
}

describe.each(versions)('the auth events of version $id', (version) => {
  test('may be what the selection asks for, or less', () => {
    const room = new Citations(version)
    expect(room.check(room.right)).toBe('allow')
    expect(room.check(room.right.slice(0, 1))).toBe('allow')
  })

  test('cannot be two of a kind, nor one twice', () => {
    const room = new Citations(version)
    const other = room.keep({ type: 'm.room.power_levels', stateKey: '', sender: alice })
    const twice = 'The auth events name m.room.power_levels twice'
    expect(room.check([...room.right, other.eventId])).toBe(twice)
    expect(room.check([...room.right, room.levelsEvent.eventId])).toBe(twice)
  })

  test.each([
    { type: 'm.room.topic', stateKey: '', sender: creator },
    { type: 'm.room.join_rules', stateKey: '', sender: creator },
    { type: 'm.room.member', stateKey: alice, sender: alice, content: { membership: 'join' } },
    { type: 'm.room.power_levels', stateKey: 'x', sender: creator },
    { type: 'm.room.power_levels', sender: creator },
    { type: 'm.room.member\0', stateKey: creator, sender: creator },
  ])('cannot be one that the selection does not ask for: %j', (offer) => {
    const room = new Citations(version)
    const stray = room.keep(offer)
    expect(room.check([...room.right, stray.eventId])).toEndWith(
      'has no place among the auth events',
    )
  })

  test('cannot be rejected, unknown or of another room', () => {
    const room = new Citations(version)
    expect(room.check([...room.right, '$nowhere'])).toBe('The auth event $nowhere is unknown')
    room.rejected.add(room.levelsEvent.eventId)
    expect(room.check(room.right)).toEndWith('was rejected')
    room.rejected.clear()
    const stranger = makeEvent(version, '!other:a.example', {
      ...room.levelsEvent,
      ts: 5,
    })
    room.events.set(stranger.eventId, stranger)
    const cited = room.right.map((id) => (id === room.levelsEvent.eventId ? stranger.eventId : id))
    expect(room.check(cited)).toEndWith('is of another room')
  })

  test('are not asked of a create event, whose own rule counts', () => {
    const room = new Citations(version)
    expect(room.check([], { type: 'm.room.create' })).not.toBe('allow')
  })
})

test.each(until(11))('version $id wants the create event among them', (version) => {
  const room = new Citations(version)
  expect(room.check(room.right.slice(1))).toBe('The auth events name no create event')
})

describe.each(from(12))('the room ID of version $id', (version) => {
  test('stands for the create event, which cannot be cited', () => {
    const room = new Citations(version)
    expect(room.check([])).toBe('allow')
    expect(room.check([room.create.eventId])).toEndWith('has no place among the auth events')
  })

  test('must be that of an accepted create event', () => {
    const room = new Citations(version)
    room.rejected.add(room.create.eventId)
    expect(room.check(room.right)).toBe('The create event of the room was rejected')
    const unknown = 'The room ID is not that of a create event'
    for (const id of [room.levelsEvent.eventId, '$nowhere']) {
      const event = makeEvent(version, `!${id.slice(1)}`, {
        ...room.levelsEvent,
        authEvents: [],
        ts: 1,
      })
      const find = (wanted: string) => room.events.get(wanted)
      expect(wordsOf(checkAuthEvents(event, find, () => false))).toBe(unknown)
    }
  })
})

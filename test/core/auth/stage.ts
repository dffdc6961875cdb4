import { authorize } from '#core/auth/authorize.ts'
import type { RoomEvent } from '#core/event/pdu.ts'
import type { JsonObject } from '#core/json.ts'
import { type RoomVersion, stableVersions } from '#core/room-version.ts'
import type { Verdict } from '#core/verdict.ts'
import { placeOf } from '#test/differential/graph.ts'
import { makeEvent, type Draft } from '#test/differential/make-event.ts'

export const versions = [...stableVersions.values()]
export const from = (first: number): RoomVersion[] =>
  versions.filter(({ id }) => Number(id) >= first)
export const until = (last: number): RoomVersion[] =>
  versions.filter(({ id }) => Number(id) <= last)

export const creator = '@creator:a.example'
export const alice = '@alice:a.example'
export const bob = '@bob:b.example'
export const carol = '@carol:c.example'

type Offer = Partial<Draft> & { sender: string; type: string }

/** A room state to which events are held; nothing of it has to be allowed itself. */
export class Stage {
  readonly version: RoomVersion
  readonly create: RoomEvent
  readonly state = new Map<string, RoomEvent>()

  constructor(version: RoomVersion, content: JsonObject = {}) {
    this.version = version
    const whole = version.creatorInContent ? { creator, ...content } : content
    const offer = { type: 'm.room.create', stateKey: '', sender: creator, content: whole }
    this.create = makeEvent(version, this.version.createEventIsRoomId ? undefined : roomId, {
      ...blank,
      ...offer,
    })
    this.state.set(placeOf('m.room.create', ''), this.create)
    this.member(creator, 'join')
  }

  event(offer: Offer): RoomEvent {
    const prevEvents = ['$previous:a.example']
    return makeEvent(this.version, this.create.roomId, { ...blank, prevEvents, ...offer })
  }

  set(type: string, content: JsonObject, stateKey = '', sender = creator): this {
    this.state.set(placeOf(type, stateKey), this.event({ type, stateKey, sender, content }))
    return this
  }

  member(user: string, membership: string): this {
    return this.set('m.room.member', { membership }, user, user)
  }

  join(...users: string[]): this {
    for (const user of users) this.member(user, 'join')
    return this
  }

  levels(content: JsonObject): this {
    return this.set('m.room.power_levels', content)
  }

  rule(rule: string): this {
    return this.set('m.room.join_rules', { join_rule: rule })
  }

  verdict(offer: Offer, signedBy: (server: string) => boolean = () => true): Verdict {
    const lookup = (type: string, stateKey: string) => this.state.get(placeOf(type, stateKey))
    return authorize(this.event(offer), lookup, signedBy)
  }

  /** `allow`, or the reason for the refusal. */
  judge(offer: Offer, signedBy?: (server: string) => boolean): string {
    return wordsOf(this.verdict(offer, signedBy))
  }

  /** Judges a member event. */
  try(sender: string, target: string, membership: string, more: JsonObject = {}): string {
    const content = { membership, ...more }
    return this.judge({ type: 'm.room.member', stateKey: target, sender, content })
  }

  /** Judges power levels. */
  tryLevels(sender: string, content: JsonObject): string {
    return this.judge({ type: 'm.room.power_levels', stateKey: '', sender, content })
  }
}

export const wordsOf = (verdict: Verdict): string => (verdict.allowed ? 'allow' : verdict.reason)

export const roomId = '!room:a.example'

export const blank: Omit<Draft, 'type' | 'sender'> = {
  content: {},
  prevEvents: [],
  authEvents: [],
  depth: 1,
  ts: 1,
}

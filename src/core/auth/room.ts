import type { RoomEvent } from '#core/event/pdu.ts'
import type { StateLookup } from '#core/event/auth-events.ts'
import type { RoomVersion } from '#core/room-version.ts'
import type { LevelName } from '#core/content/m.room.power_levels.ts'
import { namedLevel, requiredLevel, userLevel, type Level } from './levels.ts'

/** The state against which one event is judged, with the questions that the rules ask of it. */
export class RoomState {
  readonly version: RoomVersion
  readonly create: RoomEvent
  readonly powerLevels: RoomEvent | undefined
  readonly #state: StateLookup

  constructor(create: RoomEvent, state: StateLookup) {
    this.version = create.version
    this.create = create
    this.powerLevels = state('m.room.power_levels', '')
    this.#state = state
  }

  membership(userId: string): string | undefined {
    const membership = this.#state('m.room.member', userId)?.content['membership']
    return typeof membership === 'string' ? membership : undefined
  }

  /** A room without join rules is by invitation only. */
  joinRule(): string | undefined {
    const content = this.#state('m.room.join_rules', '')?.content
    if (content === undefined || !Object.hasOwn(content, 'join_rule')) return 'invite'
    const rule = content['join_rule']
    return typeof rule === 'string' ? rule : undefined
  }

  thirdPartyInvite(token: string): RoomEvent | undefined {
    return this.#state('m.room.third_party_invite', token)
  }

  levelOf(userId: string): Level {
    return userLevel(this.create, this.powerLevels, userId)
  }

  named(name: LevelName): Level {
    return namedLevel(this.powerLevels, name)
  }

  required(event: RoomEvent): Level {
    return requiredLevel(this.powerLevels, event.type, event.stateKey !== undefined)
  }
}

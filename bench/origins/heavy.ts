import type { JsonObject } from '#core/json.ts'
import type { Origin } from './origin.ts'
import { OriginRoom } from './origin-room.ts'
import type { HeavyWish } from './protocol.ts'
import type { Sending } from './sending.ts'

/**
 * A room whose resolution is long by itself. One branch gives many users a level, the other changes the
 * power levels again and again. The first is older and wins: then each of the other's changes must be
 * held against it, and would take away every one of those levels.
 */
export class HeavyRoom {
  readonly room: OriginRoom
  readonly #origin: Origin
  readonly #wish: HeavyWish
  #short: { text: string; eventId: string } | undefined

  constructor(origin: Origin, wish: HeavyWish) {
    this.#origin = origin
    this.#wish = wish
    this.room = new OriginRoom(wish.version, [origin.server])
  }

  /** Sends the long branch; its last event. */
  async branch(sending: Sending): Promise<string> {
    const { users, changes } = this.#wish
    // The first, so that it is older, but sent last.
    const trunk = this.room.made.heads
    const many = Array.from({ length: users }, (_, n) => [`@user${n}:b.test`, 50] as const)
    const short = this.room.made.make(...this.#levels(Object.fromEntries(many)), {
      prev: trunk,
      stateKey: '',
      ts: Date.now() - 1000,
    })
    this.#short = { text: short.text, eventId: short.event.eventId }
    let last = ''
    for (let n = 0; n < changes && !sending.isHalted;) {
      const texts: string[] = []
      for (; texts.length < 50; n++) {
        const [sender, type, content] = this.#levels({ '@user:b.test': n % 50 })
        const wish = { stateKey: '' }
        const { text, event } = this.room.speak(this.#origin.server, sender, type, content, wish)
        texts.push(text)
        last = event.eventId
      }
      await sending.deliver(this.#origin.transaction(texts, []))
    }
    return last
  }

  /** Sends the other branch, after which the target must resolve. */
  async fork(sending: Sending): Promise<string> {
    const { text, eventId } = this.#short!
    await sending.deliver(this.#origin.transaction([text], [eventId]))
    return eventId
  }

  #levels(more: Record<string, number>): [sender: string, type: string, content: JsonObject] {
    const admin = this.#origin.server.user('admin')
    const creators = this.room.made.version.privilegedCreators ? {} : { [admin]: 100 }
    // The last is an administrator, whose level nobody may take away.
    const zoe = Object.keys(more).length > 1 ? { '@zoe:b.test': 100 } : {}
    return [admin, 'm.room.power_levels', { users: { ...creators, ...more, ...zoe } }]
  }
}

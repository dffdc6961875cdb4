import { afterAll } from 'bun:test'
import type { PresenceUpdate } from '#core/event/edu.ts'
import { type Filter, parseFilter } from '#core/filter.ts'
import type { LogLimits } from '#engine/live/presence-log.ts'
import { Presence } from '#engine/live/presence.ts'
import type { PresencePoint } from '#engine/read/sync-token.ts'
import { readPresence } from '#engine/sync/presence.ts'
import type { TestDatabase } from '#test/database.ts'
import { Story } from '#test/engine/read/story.ts'

const rethrow = (error: unknown): unknown => {
  throw error
}

const all = parseFilter({}) as Filter

export const says = (userId: string, more: Partial<PresenceUpdate> = {}): PresenceUpdate => ({
  userId,
  presence: 'online',
  statusMsg: undefined,
  lastActiveAgo: 0,
  currentlyActive: true,
  ...more,
})

export const pushed = (...updates: PresenceUpdate[]) => ({ type: 'm.presence' as const, updates })

/** Users in rooms, whose presence begins and is read as a test wants it. */
export class PresenceStage {
  readonly db: TestDatabase
  readonly story: Story
  readonly time = { now: 1_700_000_000_000 }
  #count = 0

  private constructor(db: TestDatabase, story: Story) {
    this.db = db
    this.story = story
    afterAll(() => story.positions.close())
  }

  static async open(db: TestDatabase): Promise<PresenceStage> {
    return new PresenceStage(db, await Story.begin(db.pool))
  }

  name(server = 'here.example'): string {
    return `@user${++this.#count}:${server}`
  }

  /** Two users of ours and one of another server, in one room. */
  async room() {
    const [alice, bob, carol] = [this.name(), this.name(), this.name('there.example')]
    const room = await this.story.room(alice)
    await room.member(bob, 'join')
    await room.member(carol, 'join')
    return { alice, bob, carol, room }
  }

  begin(limits: Partial<LogLimits> = {}, epoch = 1, sql = this.db.pool, onFault = rethrow) {
    const changed: number[][] = []
    const told: string[][] = []
    const presence = new Presence({
      sql,
      serverName: 'here.example',
      clock: () => this.time.now,
      epoch,
      onChange(rooms) {
        changed.push([...rooms])
        return 0
      },
      onOwn: async (entries) =>
        void told.push(entries.map(({ userId, shown }) => `${userId} ${shown.state}`)),
      onFault,
      limits,
    })
    return { presence, changed, told }
  }

  /** What a user is told since a point. */
  async read(
    presence: Presence,
    userId: string,
    since?: { presence?: PresencePoint },
    filter = all,
  ) {
    const { byRoom: places } = await this.story.positions.view(userId)
    const ignored = new Set<string>()
    const { events, point } = readPresence(presence, { filter, since, ignored }, places, [])
    const told = events.map((event) => {
      const { sender, content } = event as { sender: string; content: { presence: string } }
      return `${sender} ${content.presence}`
    })
    return { events, told, next: { presence: point! } }
  }
}

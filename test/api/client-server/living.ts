import { SigningKey } from '#core/signing.ts'
import { RoomEngine } from '#engine/room/engine.ts'
import type { Pool } from '#store/db.ts'
import { MadeUpFederation } from '#test/builders.ts'
import { Story } from '#test/engine/read/story.ts'
import { Front } from './front.ts'

/** The client-server API over a room engine in the same thread. */
export class Living extends Front {
  readonly #engine: RoomEngine

  private constructor(story: Story, engine: RoomEngine) {
    super(story)
    this.#engine = engine
    this.answer = (method, roomId, request) => {
      const call = engine[method as 'send'] as (...args: unknown[]) => Promise<unknown>
      return call.call(engine, roomId, request)
    }
  }

  static async open(pool: Pool): Promise<Living> {
    const story = await Story.begin(pool)
    // The story told nothing yet; from here on the engine owns all rooms.
    const engine = await RoomEngine.start({
      pool,
      shards: Array.from({ length: 64 }, (_, shard) => shard),
      owner: 'engine',
      signing: { serverName: story.serverName, key: new SigningKey('a', new Uint8Array(32)) },
      federation: new MadeUpFederation(),
      onSignal: (signal) => {
        if (signal.s === 'rooms-at') story.positions.advanceRooms(signal.positions)
      },
      onError: (error, what) => console.error(what, error),
      onFatal: (error) => console.error(error),
    })
    return new Living(story, engine)
  }

  override async close(): Promise<void> {
    await this.#engine.stop()
    await super.close()
  }
}

import type { MediaWorkerCalls } from '#engine/media/protocol.ts'
import { Channel } from '#engine/worker/channel.ts'

/** A media worker that ends at its first thumbnail of a file called so. */
declare const self: Worker

new Channel<object, MediaWorkerCalls>(self, {
  thumbnail: async ({ source }) =>
    source === 'deadly' ? process.exit(1) : { outcome: 'refused', reason: 'no-image' },
  preview: async () => ({ outcome: 'failed', reason: 'none' }),
})

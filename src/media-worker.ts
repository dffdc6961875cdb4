import { makeThumbnail } from '#engine/media/images.ts'
import { makePreview } from '#engine/media/preview/make.ts'
import type { MediaWorkerCalls } from '#engine/media/protocol.ts'
import { Turns } from '#engine/media/turns.ts'
import { Channel } from '#engine/worker/channel.ts'

/** The thread that decodes images, and reads pages of strangers. */
declare const self: Worker

const images = new Turns(2, 200)
const previews = new Turns(4, 100)

new Channel<object, MediaWorkerCalls>(self, {
  thumbnail: (job) => images.run(() => makeThumbnail(job)),
  preview: (job) => previews.run(() => makePreview(job)),
})

import sharp, { type Metadata, type Sharp } from 'sharp'
import { FileSink } from '#engine/federation/file-sink.ts'
import type { ThumbnailJob, ThumbnailMade } from '#engine/media/protocol.ts'

/**
 * Everything that decodes images; runs in the media worker. Only formats of the web are read: others
 * have decoders that were never meant for what strangers send.
 */
sharp.block({ operation: ['VipsForeignLoad'] })
sharp.unblock({
  operation: ['Jpeg', 'Png', 'Nsgif', 'Webp', 'Heif'].map((name) => `VipsForeignLoad${name}`),
})
sharp.cache(false)
sharp.concurrency(1)

/** Those that clients show, and that a thumbnail may have. */
const shown = new Map([
  ['jpeg', 'image/jpeg'],
  ['png', 'image/png'],
  ['gif', 'image/gif'],
  ['webp', 'image/webp'],
])

const maxThumbnailBytes = 32 * 1024 * 1024
/** For one image; the library gives up then. */
const workSeconds = 20

export type Image = { contentType: string; width: number; height: number }

/** What an image is, by its own header: `too-large` if it has more pixels than that. */
export async function measure(
  path: string,
  maxPixels: number,
): Promise<Image | 'no-image' | 'too-large'> {
  const found = await headerOf(path, maxPixels)
  if (typeof found === 'string') return found
  const { autoOrient, format, compression } = found
  const contentType = format === 'heif' && compression === 'av1' ? 'image/avif' : shown.get(format)
  return contentType === undefined
    ? 'no-image'
    : { contentType, width: autoOrient.width, height: autoOrient.height }
}

export async function makeThumbnail(job: ThumbnailJob): Promise<ThumbnailMade> {
  const { source, maxPixels, method } = job
  const header = await headerOf(source, maxPixels)
  if (typeof header === 'string') return { outcome: 'refused', reason: header }
  const { width, height } = header.autoOrient
  const frames = header.pages ?? 1
  const type = shown.get(header.format)
  const isStill = frames === 1 || job.animated
  const isSmall =
    method === 'scale'
      ? width <= job.width || height <= job.height
      : width <= job.width && height <= job.height
  if (isSmall && isStill && type !== undefined) return { outcome: 'original', contentType: type }

  // All frames of it are held at once: a long one stands still.
  const animated = job.animated && frames > 1 && width * height * frames <= maxPixels
  try {
    const image = sharp(source, { animated, limitInputPixels: maxPixels, sequentialRead: true })
      .timeout({ seconds: workSeconds })
      .autoOrient()
      .resize({
        width: job.width,
        height: job.height,
        fit: method === 'crop' ? 'cover' : 'outside',
        withoutEnlargement: true,
      })
    // What is sharp on purpose stays so.
    const isExact = header.hasAlpha || header.format === 'png'
    const [format, made] = await encode(image, { animated, isExact })
    await using sink = await FileSink.open(job.target, maxThumbnailBytes)
    await sink.write(made)
    return { outcome: 'made', contentType: format, ...(await sink.finish()) }
  } catch (error) {
    if (error instanceof Error && 'syscall' in error) throw error
    return { outcome: 'refused', reason: reasonOf(error) }
  }
}

async function encode(
  image: Sharp,
  { animated, isExact }: { animated: boolean; isExact: boolean },
): Promise<[contentType: string, bytes: Buffer]> {
  if (animated) return ['image/webp', await image.webp({ quality: 80, effort: 2 }).toBuffer()]
  return isExact
    ? ['image/png', await image.png().toBuffer()]
    : ['image/jpeg', await image.jpeg({ quality: 82 }).toBuffer()]
}

async function headerOf(
  path: string,
  maxPixels: number,
): Promise<Metadata | 'no-image' | 'too-large'> {
  try {
    const header = await sharp(path, { limitInputPixels: maxPixels }).metadata()
    return header.width * header.height > maxPixels ? 'too-large' : header
  } catch (error) {
    return reasonOf(error)
  }
}

/** The library tells its failures apart by their words only. */
const reasonOf = (error: unknown) =>
  /pixel limit|timeout/i.test(String(error)) ? ('too-large' as const) : ('no-image' as const)

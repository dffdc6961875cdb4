import type { Wish } from '#store/media/thumbnails.ts'

/** What the media worker is asked: work that takes processor time, or reads what strangers wrote. */

export type ThumbnailJob = Wish & {
  /** The image, and where the thumbnail is written. */
  source: string
  target: string
  /** Larger ones are not decoded. */
  maxPixels: number
}

export type ThumbnailMade =
  | { outcome: 'made'; contentType: string; bytes: number; sha256: string }
  /** A thumbnail would be no smaller. The type is that which its content has. */
  | { outcome: 'original'; contentType: string }
  | { outcome: 'refused'; reason: 'no-image' | 'too-large' }

export type PreviewJob = {
  url: string
  /** Where the picture is written. */
  target: string
  maxPixels: number
  blockedRanges: readonly string[]
  allowedRanges: readonly string[]
  /** PEM texts of authorities beside those of the system. */
  extraAuthorities: readonly string[]
}

export type Picture = {
  contentType: string
  width: number
  height: number
  bytes: number
  sha256: string
}

export type PreviewMade =
  | { outcome: 'made'; properties: { [name: string]: string }; picture?: Picture }
  | { outcome: 'failed'; reason: string }

export type MediaWorkerCalls = {
  thumbnail: (job: ThumbnailJob) => ThumbnailMade
  preview: (job: PreviewJob) => PreviewMade
}

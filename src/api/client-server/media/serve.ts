import { Type as t } from '@sinclair/typebox'
import type { Incoming } from '#api/http/incoming.ts'
import { Reply } from '#api/http/reply.ts'
import { open } from '#core/schema.ts'
import { dispositionOf } from '#engine/media/about.ts'
import type { StoredMedia } from '#engine/media/media.ts'
import type { Thumbnail } from '#engine/media/thumbnails.ts'
import type { Context } from '#src/context.ts'

/** What asks for media: the parts of its `mxc://` URI. */
export const MxcParams = open({ serverName: t.String(), mediaId: t.String() })
export const NamedParams = open({
  serverName: t.String(),
  mediaId: t.String(),
  fileName: t.String(),
})

const Timeout = t.Optional(t.Integer({ minimum: 0 }))

export const DownloadQuery = open({ timeout_ms: Timeout })
export const ThumbnailQuery = open({
  width: t.Integer({ minimum: 1 }),
  height: t.Integer({ minimum: 1 }),
  method: t.Optional(t.Union([t.Literal('crop'), t.Literal('scale')])),
  animated: t.Optional(t.Boolean()),
  timeout_ms: Timeout,
})

/** The deprecated routes take these too; nothing is redirected here. */
const also = { allow_remote: t.Optional(t.Boolean()), allow_redirect: t.Optional(t.Boolean()) }
export const OpenDownloadQuery = open({ ...DownloadQuery.properties, ...also })
export const OpenThumbnailQuery = open({ ...ThumbnailQuery.properties, ...also })

/**
 * What keeps content that strangers have written from doing anything in a browser.
 *
 * Spec: client-server-api/#content-repository
 */
const policy =
  "sandbox; default-src 'none'; script-src 'none'; plugin-types application/pdf; " +
  "style-src 'unsafe-inline'; object-src 'self';"

function headersOf(sha256: string, contentType: string, disposition: string) {
  return {
    'content-type': contentType,
    'content-disposition': disposition,
    'content-security-policy': policy,
    'cross-origin-resource-policy': 'cross-origin',
    'x-content-type-options': 'nosniff',
    'referrer-policy': 'no-referrer',
    // What an ID stands for never changes; a quarantine has to reach caches some day.
    'cache-control': 'private, max-age=86400, immutable',
    'accept-ranges': 'bytes',
    etag: `"${sha256}"`,
  }
}

/** The content of media, under its own name or another. A part of it is what the runtime answers. */
export function content(
  ctx: Context,
  request: Incoming,
  media: StoredMedia,
  fileName = media.fileName,
): Reply {
  const { sha256, contentType } = media
  const disposition = dispositionOf(contentType, fileName)
  return answer(ctx, request, sha256, headersOf(sha256, contentType, disposition))
}

export function thumbnail(
  ctx: Context,
  request: Incoming,
  { sha256, contentType }: Thumbnail,
): Reply {
  const disposition = `inline; filename=thumbnail.${contentType.slice('image/'.length)}`
  return answer(ctx, request, sha256, headersOf(sha256, contentType, disposition))
}

function answer(
  ctx: Context,
  request: Incoming,
  sha256: string,
  headers: Readonly<Record<string, string>>,
): Reply {
  const known = request.headers.get('if-none-match')?.split(',') ?? []
  if (known.some((tag) => tag.trim().replace(/^W\//, '') === headers['etag']))
    return new Reply(304, null, headers)
  return new Reply(200, ctx.mediaFiles.get(sha256), headers)
}

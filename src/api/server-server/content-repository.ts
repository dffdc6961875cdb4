import { Type as t } from '@sinclair/typebox'
import { op } from '#api/http/op.ts'
import { Reply } from '#api/http/reply.ts'
import { open } from '#core/schema.ts'
import { dispositionOf } from '#engine/media/about.ts'
import { multipartOf } from '#engine/media/multipart.ts'
import type { Context } from '#src/context.ts'

const Timeout = t.Optional(t.Integer({ minimum: 0 }))

export const getContent = op({
  id: 'getContent',
  method: 'GET',
  path: '/_matrix/federation/v1/media/download/:mediaId',
  auth: 'server',
  limit: 'media',
  params: open({ mediaId: t.String() }),
  query: open({ timeout_ms: Timeout }),
  async run({ params: { mediaId }, query }, ctx) {
    const media = await ctx.media.find({ ...ours(ctx, mediaId), timeoutMs: query.timeout_ms })
    return inParts(ctx, media.sha256, {
      'Content-Type': media.contentType,
      'Content-Disposition': dispositionOf(media.contentType, media.fileName),
    })
  },
})

export const getContentThumbnail = op({
  id: 'getContentThumbnail',
  method: 'GET',
  path: '/_matrix/federation/v1/media/thumbnail/:mediaId',
  auth: 'server',
  limit: 'media',
  params: open({ mediaId: t.String() }),
  query: open({
    width: t.Integer({ minimum: 1 }),
    height: t.Integer({ minimum: 1 }),
    method: t.Optional(t.Union([t.Literal('crop'), t.Literal('scale')])),
    animated: t.Optional(t.Boolean()),
    timeout_ms: Timeout,
  }),
  async run({ params: { mediaId }, query }, ctx) {
    const { width, height, method = 'scale', animated = false, timeout_ms: timeoutMs } = query
    const media = await ctx.media.find({ ...ours(ctx, mediaId), timeoutMs })
    const made = await ctx.thumbnails.get(media, { width, height, method, animated })
    return inParts(ctx, made.sha256, {
      'Content-Type': made.contentType,
      'Content-Disposition': `inline; filename=thumbnail.${made.contentType.slice('image/'.length)}`,
    })
  },
})

/** Servers ask the one whose media it is. */
const ours = ({ serverName }: Context, mediaId: string) => ({
  serverName,
  mediaId,
  allowRemote: false,
})

function inParts(ctx: Context, sha256: string, headers: Readonly<Record<string, string>>): Reply {
  const { contentType, body } = multipartOf(ctx.mediaFiles.get(sha256), headers)
  return new Reply(200, body, { 'content-type': contentType })
}

import { Type as t } from '@sinclair/typebox'
import {
  MxcParams,
  NamedParams,
  OpenDownloadQuery,
  OpenThumbnailQuery,
  content,
  thumbnail,
} from '#api/client-server/media/serve.ts'
import type { Incoming } from '#api/http/incoming.ts'
import { op } from '#api/http/op.ts'
import { jsonText } from '#api/http/reply.ts'
import { tooLarge } from '#core/error.ts'
import { open } from '#core/schema.ts'
import { contentTypeOf, fileNameOf } from '#engine/media/about.ts'
import { mxcOf } from '#engine/media/keys.ts'
import type { Context } from '#src/context.ts'

const UploadQuery = open({ filename: t.Optional(t.String()) })

/** What the uploader says; a body that says it is too long is not begun with. */
function aboutOf(request: Incoming, filename: string | undefined, ctx: Context) {
  const most = ctx.config.media.max_upload_bytes
  if (Number(request.headers.get('content-length') ?? 0) > most)
    throw tooLarge(`An upload may have ${most} bytes at most`)
  return {
    contentType: contentTypeOf(request.headers.get('content-type')),
    fileName: fileNameOf(filename),
  }
}

export const uploadContent = op({
  id: 'uploadContent',
  method: 'POST',
  path: '/_matrix/media/v3/upload',
  also: ['/_matrix/media/r0/upload', '/_matrix/media/v1/upload'],
  auth: 'user',
  limit: 'upload',
  streams: true,
  query: UploadQuery,
  response: open({ content_uri: t.String() }),
  async run({ who, query: { filename }, request }, ctx) {
    const about = aboutOf(request, filename, ctx)
    const mediaId = await ctx.media.upload(who.userId, request.stream, about)
    return { content_uri: mxcOf(ctx.serverName, mediaId) }
  },
})

export const createContent = op({
  id: 'createContent',
  method: 'POST',
  path: '/_matrix/media/v1/create',
  auth: 'user',
  limit: 'upload',
  response: open({ content_uri: t.String(), unused_expires_at: t.Integer() }),
  async run({ who }, ctx) {
    const { mediaId, expiresAt } = await ctx.media.create(who.userId)
    return { content_uri: mxcOf(ctx.serverName, mediaId), unused_expires_at: expiresAt }
  },
})

export const uploadContentToMXC = op({
  id: 'uploadContentToMXC',
  method: 'PUT',
  path: '/_matrix/media/v3/upload/:serverName/:mediaId',
  auth: 'user',
  limit: 'upload',
  streams: true,
  params: MxcParams,
  query: UploadQuery,
  response: open({}),
  async run({ who, params, query: { filename }, request }, ctx) {
    const about = aboutOf(request, filename, ctx)
    await ctx.media.uploadTo(who.userId, params, request.stream, about)
    return {}
  },
})

/** Media from before the freeze only: what came later is for those who say who they are. */
export const getContent = op({
  id: 'getContent',
  method: 'GET',
  path: '/_matrix/media/v3/download/:serverName/:mediaId',
  also: [
    '/_matrix/media/r0/download/:serverName/:mediaId',
    '/_matrix/media/v1/download/:serverName/:mediaId',
  ],
  auth: 'none',
  limit: 'media',
  params: MxcParams,
  query: OpenDownloadQuery,
  async run({ params, query, request }, ctx) {
    return content(ctx, request, await findOpen(params, query, ctx))
  },
})

export const getContentOverrideName = op({
  id: 'getContentOverrideName',
  method: 'GET',
  path: '/_matrix/media/v3/download/:serverName/:mediaId/:fileName',
  also: [
    '/_matrix/media/r0/download/:serverName/:mediaId/:fileName',
    '/_matrix/media/v1/download/:serverName/:mediaId/:fileName',
  ],
  auth: 'none',
  limit: 'media',
  params: NamedParams,
  query: OpenDownloadQuery,
  async run({ params: { fileName, ...mxc }, query, request }, ctx) {
    return content(ctx, request, await findOpen(mxc, query, ctx), fileNameOf(fileName))
  },
})

export const getContentThumbnail = op({
  id: 'getContentThumbnail',
  method: 'GET',
  path: '/_matrix/media/v3/thumbnail/:serverName/:mediaId',
  also: [
    '/_matrix/media/r0/thumbnail/:serverName/:mediaId',
    '/_matrix/media/v1/thumbnail/:serverName/:mediaId',
  ],
  auth: 'none',
  limit: 'media',
  params: MxcParams,
  query: OpenThumbnailQuery,
  async run({ params, query, request }, ctx) {
    const { width, height, method = 'scale', animated = false } = query
    const media = await findOpen(params, query, ctx)
    const made = await ctx.thumbnails.get(media, { width, height, method, animated })
    return thumbnail(ctx, request, made)
  },
})

export const getUrlPreview = op({
  id: 'getUrlPreview',
  method: 'GET',
  path: '/_matrix/media/v3/preview_url',
  also: ['/_matrix/media/r0/preview_url', '/_matrix/media/v1/preview_url'],
  auth: 'user',
  limit: 'lookup',
  query: open({ url: t.String(), ts: t.Optional(t.Integer()) }),
  run: async ({ query: { url } }, ctx) => jsonText(await ctx.previews.get(url)),
})

export const getConfig = op({
  id: 'getConfig',
  method: 'GET',
  path: '/_matrix/media/v3/config',
  also: ['/_matrix/media/r0/config', '/_matrix/media/v1/config'],
  auth: 'user',
  limit: 'lookup',
  response: open({ 'm.upload.size': t.Integer() }),
  run: (_input, ctx) => ({ 'm.upload.size': ctx.config.media.max_upload_bytes }),
})

const findOpen = (
  mxc: { serverName: string; mediaId: string },
  query: { timeout_ms?: number; allow_remote?: boolean },
  ctx: Context,
) =>
  ctx.media.find({
    ...mxc,
    timeoutMs: query.timeout_ms,
    allowRemote: query.allow_remote ?? true,
    openly: true,
  })

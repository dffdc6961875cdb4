import { Type as t } from '@sinclair/typebox'
import {
  DownloadQuery,
  MxcParams,
  NamedParams,
  ThumbnailQuery,
  content,
  thumbnail,
} from '#api/client-server/media/serve.ts'
import { op } from '#api/http/op.ts'
import { jsonText } from '#api/http/reply.ts'
import { open } from '#core/schema.ts'
import { fileNameOf } from '#engine/media/about.ts'

export const getContentAuthed = op({
  id: 'getContentAuthed',
  method: 'GET',
  path: '/_matrix/client/v1/media/download/:serverName/:mediaId',
  also: ['/_matrix/client/unstable/org.matrix.msc3916/media/download/:serverName/:mediaId'],
  auth: 'user',
  admits: ['guest'],
  limit: 'media',
  params: MxcParams,
  query: DownloadQuery,
  async run({ params, query, request }, ctx) {
    const media = await ctx.media.find({ ...params, timeoutMs: query.timeout_ms })
    return content(ctx, request, media)
  },
})

export const getContentOverrideNameAuthed = op({
  id: 'getContentOverrideNameAuthed',
  method: 'GET',
  path: '/_matrix/client/v1/media/download/:serverName/:mediaId/:fileName',
  also: [
    '/_matrix/client/unstable/org.matrix.msc3916/media/download/:serverName/:mediaId/:fileName',
  ],
  auth: 'user',
  admits: ['guest'],
  limit: 'media',
  params: NamedParams,
  query: DownloadQuery,
  async run({ params: { fileName, ...mxc }, query, request }, ctx) {
    const media = await ctx.media.find({ ...mxc, timeoutMs: query.timeout_ms })
    return content(ctx, request, media, fileNameOf(fileName))
  },
})

export const getContentThumbnailAuthed = op({
  id: 'getContentThumbnailAuthed',
  method: 'GET',
  path: '/_matrix/client/v1/media/thumbnail/:serverName/:mediaId',
  also: ['/_matrix/client/unstable/org.matrix.msc3916/media/thumbnail/:serverName/:mediaId'],
  auth: 'user',
  admits: ['guest'],
  limit: 'media',
  params: MxcParams,
  query: ThumbnailQuery,
  async run({ params, query, request }, ctx) {
    const { width, height, method = 'scale', animated = false, timeout_ms: timeoutMs } = query
    const media = await ctx.media.find({ ...params, timeoutMs })
    const made = await ctx.thumbnails.get(media, { width, height, method, animated })
    return thumbnail(ctx, request, made)
  },
})

export const getUrlPreviewAuthed = op({
  id: 'getUrlPreviewAuthed',
  method: 'GET',
  path: '/_matrix/client/v1/media/preview_url',
  also: ['/_matrix/client/unstable/org.matrix.msc3916/media/preview_url'],
  auth: 'user',
  limit: 'lookup',
  query: open({ url: t.String(), ts: t.Optional(t.Integer()) }),
  run: async ({ query: { url } }, ctx) => jsonText(await ctx.previews.get(url)),
})

export const getConfigAuthed = op({
  id: 'getConfigAuthed',
  method: 'GET',
  path: '/_matrix/client/v1/media/config',
  also: ['/_matrix/client/unstable/org.matrix.msc3916/media/config'],
  auth: 'user',
  limit: 'lookup',
  response: open({ 'm.upload.size': t.Integer() }),
  run: (_input, ctx) => ({ 'm.upload.size': ctx.config.media.max_upload_bytes }),
})

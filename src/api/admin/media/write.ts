import { parseMxc } from '#engine/media/keys.ts'
import type { MediaKey } from '#store/media/media.ts'
import type { MediaFacts } from '#store/media/moderation.ts'

/** A medium as administrators' tools read it. */
export const writeMedia = (media: MediaFacts) => ({
  media_id: media.mediaId,
  media_origin: media.serverName,
  user_id: media.userId,
  media_type: media.contentType,
  media_length: media.bytes,
  upload_name: media.fileName,
  created_ts: media.createdAt,
  last_access_ts: media.usedAt,
  quarantined_by: media.quarantinedBy,
  safe_from_quarantine: media.protected,
})

/** What `mxc://` URIs name; what is none is left out. */
export const keysOf = (uris: Iterable<string>): MediaKey[] =>
  [...uris].flatMap((uri) => parseMxc(uri) ?? [])

/**
 * What media is said to be: its content type and its name, which others chose.
 *
 * Spec: client-server-api/#content-repository
 */
const anything = 'application/octet-stream'

/** A content type as it may be sent back in a header; anything else is no type. */
export function contentTypeOf(header: string | null | undefined): string {
  const type = header?.trim() ?? ''
  return /^[\w!#$&^.+-]+\/[\w!#$&^.+-]+(?:\s*;[\x20-\x7e]*)?$/.test(type) && type.length <= 255
    ? type
    : anything
}

/** A name that a file may be given: of one line. It names no file here. */
export function fileNameOf(text: string | null | undefined): string | null {
  const name = (text ?? '')
    .toWellFormed()
    .replace(/[\p{Cc}\u2028\u2029]/gu, '')
    .trim()
  return name === '' ? null : name.slice(0, 255).replace(/[\ud800-\udbff]$/, '')
}

/** Types that no browser runs as a program. Spec: client-server-api/#serving-inline-content */
const inline = new Set(
  [
    'text/css text/plain text/csv application/json application/ld+json',
    'image/jpeg image/gif image/png image/apng image/webp image/avif',
    'video/mp4 video/webm video/ogg video/quicktime',
    'audio/mp4 audio/webm audio/aac audio/mpeg audio/ogg audio/wave audio/wav audio/x-wav',
    'audio/x-pn-wav audio/flac audio/x-flac',
  ].flatMap((line) => line.split(' ')),
)

/** The `Content-Disposition` of a download. */
export function dispositionOf(contentType: string, fileName: string | null): string {
  const essence = contentType.split(';')[0]!.trim().toLowerCase()
  const kind = inline.has(essence) ? 'inline' : 'attachment'
  return fileName === null ? kind : `${kind}; ${parameterOf(fileName)}`
}

/** Spec: RFC 6266 */
function parameterOf(fileName: string): string {
  if (/^[\w.-]+$/.test(fileName)) return `filename=${fileName}`
  if (/^[\x20-\x7e]+$/.test(fileName))
    return `filename="${fileName.replace(/["\\]/g, (character) => `\\${character}`)}"`
  const escaped = encodeURIComponent(fileName).replace(
    /['()*]/g,
    (character) => `%${character.charCodeAt(0).toString(16).toUpperCase()}`,
  )
  return `filename*=utf-8''${escaped}`
}

/** The name in a `Content-Disposition` of another server. */
export function fileNameIn(disposition: string | undefined): string | null {
  if (disposition === undefined) return null
  const encoded = /;\s*filename\*\s*=\s*utf-8'[^']*'([^\s;]+)/i.exec(disposition)?.[1]
  if (encoded !== undefined)
    try {
      return fileNameOf(decodeURIComponent(encoded))
    } catch {
      // It is not percent-encoded UTF-8: the plain parameter may still say something.
    }
  const match = /;\s*filename\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s;"]+))/i.exec(disposition)
  return fileNameOf(match?.[1]?.replace(/\\(.)/g, '$1') ?? match?.[2])
}

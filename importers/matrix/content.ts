import type { Attachment, Text } from '#importers/format.ts'
import { escapeHtml, type Links, safeHtml } from '#importers/markup/html.ts'
import type { Media } from '#importers/state/ledger.ts'
import { largestContent, splitText, weightOf } from './size.ts'
import type { Speaker } from './people.ts'

export type Content = { [name: string]: unknown }

/** Where an imported event says what it was. */
export const importKey = 'org.laneway.import'

export type TextOptions = {
  msgtype: string
  links: Links
  mentions: { user_ids?: string[]; room?: true } | undefined
}

/** What PostgreSQL and JSON carry: no NUL, no halves of characters. */
export function cleanText(text: string): string {
  return text.replaceAll('\0', '\uFFFD').toWellFormed()
}

/** The content of a text, with its markup made safe. */
export function textContent(text: Text, { msgtype, links, mentions }: TextOptions): Content {
  const html = text.html === undefined ? undefined : safeHtml(cleanText(text.html), links)
  return {
    msgtype,
    body: cleanText(text.body),
    ...(html !== undefined && { format: 'org.matrix.custom.html', formatted_body: html }),
    ...(mentions && { 'm.mentions': mentions }),
  }
}

/** The content of a file; without one, a text that says what is missing. */
export function fileContent(file: Attachment, media: Media | undefined, gone: string): Content {
  const url = file.content && 'url' in file.content ? file.content.url : undefined
  const caption = file.caption ? cleanText(file.caption) : undefined
  const name = cleanText(file.name) || 'file'
  if (!media?.mxc) {
    const where = url === undefined || file.gone !== undefined ? '' : ` ${url}`
    const lines = [`[${name}: ${gone}]${where}`, ...(caption ? [caption] : [])]
    return { msgtype: 'm.text', body: lines.join('\n') }
  }
  const type = media.type ?? file.type ?? 'application/octet-stream'
  const width = file.width ?? media.width ?? undefined
  const height = file.height ?? media.height ?? undefined
  const kind = type.split('/')[0]
  const msgtype = kind === 'image' || kind === 'video' || kind === 'audio' ? `m.${kind}` : 'm.file'
  return {
    msgtype,
    body: caption ?? name,
    filename: name,
    url: media.mxc,
    info: {
      mimetype: type,
      ...(media.size !== null && { size: media.size }),
      ...(width !== undefined && height !== undefined && { w: width, h: height }),
      ...(file.duration !== undefined && { duration: Math.round(file.duration) }),
    },
  }
}

/**
 * MSC4144: a name and a face on the event itself. Where the sender is the importer for everybody, clients
 * that do not know of it read the name in the text.
 */
export function withProfile(
  content: Content,
  shown: { id: string; name: string; avatar: string | undefined },
  isShared: boolean,
): Content {
  const body = content['body']
  const html = content['formatted_body']
  const name = cleanText(shown.name)
  const isText = content['url'] === undefined
  const prefixed = isShared && isText && typeof body === 'string'
  return {
    ...content,
    ...(prefixed && {
      body: `${name}: ${body}`,
      format: 'org.matrix.custom.html',
      formatted_body: `<strong data-mx-profile-fallback>${escapeHtml(name)}: </strong>${typeof html === 'string' ? html : escapeHtml(body).replaceAll('\n', '<br>')}`,
    }),
    'com.beeper.per_message_profile': {
      id: shown.id,
      displayname: name,
      ...(shown.avatar !== undefined && { avatar_url: shown.avatar }),
      ...(prefixed && { has_fallback: true }),
    },
  }
}

/** Content in as many pieces as it needs; more than one carry the text without its markup. */
export function inPieces(content: Content): Content[] {
  if (weightOf(content) <= largestContent) return [content]
  const { body, formatted_body: _html, format: _format, ...rest } = content
  if (typeof body !== 'string') return [content]
  return splitText(body, largestContent - weightOf(rest) - 100).map((piece) => ({
    ...rest,
    body: piece,
  }))
}

/** Whether an event has to show its sender's name itself. */
export function profileOf(
  speaker: Speaker,
  shownName: string | undefined,
  avatar: string | undefined,
): { id: string; name: string; avatar: string | undefined } | undefined {
  const isOther = shownName !== undefined && shownName !== '' && shownName !== speaker.name
  if (!speaker.isShared && !isOther) return undefined
  return { id: speaker.person, name: shownName || speaker.name, avatar }
}

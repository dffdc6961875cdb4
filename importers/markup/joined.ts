import type { Text } from '#importers/format.ts'
import { escapeHtml } from '#importers/markup/html.ts'

/** Texts as one quote. */
export function quoted(parts: readonly Text[]): Text {
  const { body, html, mentions, mentionsRoom } = joined(parts)
  if (body === '') return { body: '' }
  return {
    body: body.replace(/^/gm, '> '),
    html: `<blockquote>${html ?? escapeHtml(body).replaceAll('\n', '<br>')}</blockquote>`,
    ...(mentions && { mentions }),
    ...(mentionsRoom && { mentionsRoom }),
  }
}

/** Texts below each other. */
export function joined(parts: readonly Text[]): Text {
  const [only] = parts
  if (parts.length === 1 && only) return only
  const isRich = parts.some(({ html }) => html !== undefined)
  const mentions = [...new Set(parts.flatMap((part) => part.mentions ?? []))]
  return {
    body: parts.map(({ body }) => body).join('\n'),
    ...(isRich && { html: parts.map(asBlock).join('') }),
    ...(mentions.length > 0 && { mentions }),
    ...(parts.some((part) => part.mentionsRoom) && { mentionsRoom: true }),
  }
}

function asBlock({ body, html }: Text): string {
  const inner = html ?? escapeHtml(body).replaceAll('\n', '<br>')
  return /^<(p|blockquote|pre|ul|ol|h\d|div|table)[ >]/.test(inner) ? inner : `<p>${inner}</p>`
}

import type { Text } from '#importers/format.ts'
import { escapeHtml } from '#importers/markup/html.ts'
import { quoted } from '#importers/markup/joined.ts'
import { type Fields, fields, isFields, list, text } from '#importers/read/fields.ts'

/** What is said in boxes beside a text, as quotes; the box of a link that people posted shows what is behind it. */
export function embedTexts(
  message: Fields,
  isBot: boolean,
  render: (source: string) => Text,
): Text[] {
  const content = text(message, 'content') ?? ''
  return list(message, 'embeds')
    .filter(isFields)
    .filter((embed) => isBot || !isPreview(embed, content))
    .map((embed) => embedText(embed, render))
    .filter(({ body }) => body !== '')
}

function isPreview(embed: Fields, content: string): boolean {
  const url = text(embed, 'url')
  return url !== undefined && url !== '' && content.includes(url.replace(/\/$/, ''))
}

function embedText(embed: Fields, render: (source: string) => Text): Text {
  const parts: Text[] = []
  const linked = (label: string | undefined, url: string | undefined, bold = false) => {
    if (!label) return
    const shown = bold ? `<strong>${escapeHtml(label)}</strong>` : escapeHtml(label)
    const isLink = url !== undefined && /^https?:/.test(url)
    parts.push({
      body: isLink && label !== url ? `${label} (${url})` : label,
      html: isLink ? `<a href="${escapeHtml(url)}">${shown}</a>` : shown,
    })
  }
  const author = fields(embed, 'author')
  linked(text(author, 'name'), text(author, 'url'))
  linked(text(embed, 'title'), text(embed, 'url'), true)
  const description = text(embed, 'description')
  if (description) parts.push(render(description))
  for (const field of list(embed, 'fields')) {
    const { body, html } = render(text(field, 'value') ?? '')
    const name = text(field, 'name') ?? ''
    parts.push({
      body: `${name}: ${body}`,
      html: `<strong>${escapeHtml(name)}</strong>: ${html ?? escapeHtml(body)}`,
    })
  }
  for (const image of [embed['image'], ...list(embed, 'images')]) {
    const url = text(image, 'canonicalUrl') ?? text(image, 'url')
    if (url && /^https?:/.test(url) && !parts.some(({ body }) => body === url)) linked(url, url)
  }
  linked(text(fields(embed, 'footer'), 'text'), undefined)
  return quoted(parts)
}

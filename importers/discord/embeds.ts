import type { Text } from '#importers/format.ts'
import { boxText } from '#importers/markup/box.ts'
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
  const author = fields(embed, 'author')
  const images = [embed['image'], ...list(embed, 'images')]
  return boxText(
    {
      author: text(author, 'name'),
      authorUrl: text(author, 'url'),
      title: text(embed, 'title'),
      titleUrl: text(embed, 'url'),
      text: text(embed, 'description'),
      fields: list(embed, 'fields').map((field) => ({
        name: text(field, 'name') ?? '',
        value: text(field, 'value') ?? '',
      })),
      images: images.map((image) => text(image, 'canonicalUrl') ?? text(image, 'url')),
      footer: text(fields(embed, 'footer'), 'text'),
    },
    render,
  )
}

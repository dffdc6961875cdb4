import type { Text } from '#importers/format.ts'
import { escapeHtml } from '#importers/markup/html.ts'
import { quoted } from '#importers/markup/joined.ts'

/** A box beside a message, as bots write them: everything in it may be missing. */
export type Box = {
  author?: string | undefined
  authorUrl?: string | undefined
  title?: string | undefined
  titleUrl?: string | undefined
  text?: string | undefined
  fields?: { name: string; value: string }[]
  images?: (string | undefined)[]
  footer?: string | undefined
}

/** A box as a quote; `render` reads the marks of the format. An empty body if nothing is in it. */
export function boxText(box: Box, render: (source: string) => Text): Text {
  const parts: Text[] = [
    label(box.author, box.authorUrl),
    label(box.title, box.titleUrl, true),
    render(box.text ?? ''),
    ...(box.fields ?? []).map(({ name, value }) => fieldText(name, render(value))),
    ...[...new Set(box.images)].filter((url) => isWeb(url)).map((url) => label(url, url)),
    label(box.footer),
  ]
  return quoted(parts.filter(({ body }) => body !== ''))
}

function fieldText(name: string, value: Text): Text {
  const { body, html, ...mentions } = value
  if (name === '') return value
  const inner = html ?? escapeHtml(body)
  return {
    body: `${name}: ${body}`,
    html: `<strong>${escapeHtml(name)}</strong>: ${inner}`,
    ...mentions,
  }
}

const isWeb = (url: string | undefined): url is string => url !== undefined && /^https?:/.test(url)

function label(words: string | undefined, url?: string, bold = false): Text {
  if (!words) return { body: '' }
  const shown = bold ? `<strong>${escapeHtml(words)}</strong>` : escapeHtml(words)
  if (!isWeb(url)) return { body: words, html: shown }
  return {
    body: url === words ? words : `${words} (${url})`,
    html: `<a href="${escapeHtml(url)}">${shown}</a>`,
  }
}

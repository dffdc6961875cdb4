import MarkdownIt from 'markdown-it'

import type { Text } from '#importers/format.ts'
import { addUrls } from './urls.ts'

type Rules = InstanceType<typeof MarkdownIt>

/** What renders Markdown: the text of a message to both of its Matrix forms. */
export type Markdown = (source: string, env?: { [name: string]: unknown }) => Text

/** Text without any of these reads the same with and without Markdown: some are marks at the beginning only. */
const marks = /[\\`*_~[\]<>#|&$@\n]|:\/\/|:[+\w-]+:|^[\s=+-]|^\d+[.)]/

/**
 * A renderer for chat: HTML in the source is text, line breaks are kept, links are made of URLs. `configure`
 * adds what an export has besides. The body is the source, as people type it in Matrix too.
 */
export function createMarkdown(configure?: (md: Rules) => void): Markdown {
  const md = new MarkdownIt({ html: false, breaks: true })
  addUrls(md)
  configure?.(md)
  return (source, env = {}) => {
    if (!marks.test(source)) return { body: source }
    const html = unwrap(md.render(source, env).trim())
    return isPlain(html, source) ? { body: source } : { body: source, html }
  }
}

/** A single paragraph stands without its element. */
function unwrap(html: string): string {
  const inner = html.slice(3, -4)
  return html.startsWith('<p>') && html.endsWith('</p>') && !inner.includes('<p>') ? inner : html
}

/** Whether HTML tells no more than the source: the same text, of lines and of links that clients make too. */
function isPlain(html: string, source: string): boolean {
  if (/<(?!br>|\/a>|a href="([^"]*)">\1<\/a>)/.test(html)) return false
  const text = html
    .replace(/<[^>]*>/g, '')
    .replace(/&(amp|lt|gt|quot);/g, (_, name: string) => signs[name]!)
  // Escapes, and signs written by their names, are in the source only.
  return text.replace(/\s+/g, '') === source.replace(/\s+/g, '')
}

const signs: { [name: string]: string } = { amp: '&', lt: '<', gt: '>', quot: '"' }

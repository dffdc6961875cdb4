import type { Block, Inline } from '#importers/markup/rich-text.ts'
import { type Fields, fields, isFields, list, text as stringOf } from '#importers/read/fields.ts'
import { parseBlocks } from './blocks.ts'
import { type SlackNames, parseInline, parseMrkdwn } from './mrkdwn.ts'

const text = (value: Fields, name: string): string => stringOf(value, name) ?? ''

/**
 * What bots say beside the text: titled boxes, which become quotes. Previews of links are left out,
 * since the link stands in the text; shared messages are kept.
 */
export function parseAttachments(attachments: readonly unknown[], names: SlackNames): Block[] {
  return attachments
    .filter(isFields)
    .filter((each) => !isPreview(each))
    .map((each) => parseAttachment(each, names))
    .flatMap(({ before, inner }) =>
      inner.length ? [...before, { kind: 'quote' as const, of: inner }] : before,
    )
}

const isPreview = (each: Fields) =>
  (typeof each['from_url'] === 'string' || typeof each['original_url'] === 'string') &&
  each['is_msg_unfurl'] !== true &&
  each['is_share'] !== true

function parseAttachment(each: Fields, names: SlackNames): { before: Block[]; inner: Block[] } {
  const before = parseMrkdwn(text(each, 'pretext'), names)
  const inner: Block[] = []
  const linked = (label: string, url: string): Inline =>
    url ? { kind: 'link', url, of: [label] } : label
  const author = text(each, 'author_name')
  if (author) inner.push({ kind: 'p', of: [linked(author, text(each, 'author_link'))] })
  const title = text(each, 'title')
  if (title)
    inner.push({ kind: 'p', of: [{ kind: 'b', of: [linked(title, text(each, 'title_link'))] }] })
  const own = list(each, 'blocks')
  const shared = fields(list(each, 'message_blocks')[0], 'message')
  const blocks = parseBlocks(own.length ? own : list(shared, 'blocks'), names)
  inner.push(...(blocks.length ? blocks : parseMrkdwn(text(each, 'text'), names)))
  for (const field of list(each, 'fields').filter(isFields)) {
    const name = text(field, 'title')
    const value = parseInline(text(field, 'value'), names)
    inner.push({ kind: 'p', of: name ? [{ kind: 'b', of: [name] }, ': ', ...value] : value })
  }
  const image = text(each, 'image_url')
  if (image) inner.push({ kind: 'p', of: [{ kind: 'link', url: image, of: [image] }] })
  const footer = text(each, 'footer')
  if (footer) inner.push({ kind: 'p', of: [footer] })
  if (!inner.length && !before.length && text(each, 'fallback'))
    inner.push(...parseMrkdwn(text(each, 'fallback'), names))
  return { before, inner }
}

import { emojiOf } from '#importers/markup/emoji.ts'
import type { Block, Inline } from '#importers/markup/rich-text.ts'
import { type Fields, fields, isFields, list, text as stringOf } from '#importers/read/fields.ts'
import { type SlackNames, parseMrkdwn } from './mrkdwn.ts'

const objects = (value: unknown, name: string): Fields[] => list(value, name).filter(isFields)
const text = (value: unknown, name: string): string => stringOf(value, name) ?? ''

/** The blocks of a message that say something; the rest (buttons, inputs) was for doing, not for reading. */
export function parseBlocks(blocks: readonly unknown[], names: SlackNames): Block[] {
  return blocks.filter(isFields).flatMap((block) => parseBlock(block, names))
}

function parseBlock(block: Fields, names: SlackNames): Block[] {
  switch (block['type']) {
    case 'rich_text':
      return richText(objects(block, 'elements'), names)
    case 'section': {
      const columns = objects(block, 'fields').flatMap((field) => textObject(field, names))
      return [...textObject(fields(block, 'text'), names), ...columns]
    }
    case 'header':
      return [{ kind: 'heading', level: 3, of: [plainText(block, 'text')] }]
    case 'divider':
      return [{ kind: 'rule' }]
    case 'context':
      return objects(block, 'elements').flatMap((each) => textObject(each, names))
    case 'markdown':
      return parseMrkdwn(text(block, 'text'), names)
    case 'image':
    case 'video': {
      const url = text(block, 'image_url') || text(block, 'title_url') || text(block, 'video_url')
      const label = plainText(block, 'title') || text(block, 'alt_text') || url
      return url ? [{ kind: 'p', of: [{ kind: 'link', url, of: [label] }] }] : []
    }
    default:
      return []
  }
}

/** A label is an object in newer exports, and was a string. */
const plainText = (value: Fields, name: string) =>
  text(fields(value, name), 'text') || text(value, name)

function textObject(value: Fields, names: SlackNames): Block[] {
  if (text(value, 'text') === '') return []
  if (value['type'] === 'mrkdwn') return parseMrkdwn(text(value, 'text'), names)
  return [{ kind: 'p', of: [text(value, 'text')] }]
}

function richText(elements: readonly Fields[], names: SlackNames): Block[] {
  const blocks: Block[] = []
  for (let at = 0; at < elements.length; at++) {
    const element = elements[at]!
    switch (element['type']) {
      case 'rich_text_section': {
        const of = trimmed(inlines(element, names))
        if (of.length) blocks.push({ kind: 'p', of })
        break
      }
      case 'rich_text_quote':
        blocks.push({ kind: 'quote', of: [{ kind: 'p', of: trimmed(inlines(element, names)) }] })
        break
      case 'rich_text_preformatted':
        blocks.push(preformatted(element))
        break
      case 'rich_text_list': {
        // A nested list stands behind its parent as one of a greater indent.
        const run = [element]
        while (elements[at + 1]?.['type'] === 'rich_text_list') run.push(elements[++at]!)
        blocks.push(...nested(run, names))
      }
    }
  }
  return blocks
}

/** The line end behind a section is the end of its block. */
function trimmed(nodes: Inline[]): Inline[] {
  const last = nodes.at(-1)
  if (typeof last !== 'string') return nodes
  const cut = last.replace(/\n+$/, '')
  return cut === '' ? nodes.slice(0, -1) : [...nodes.slice(0, -1), cut]
}

function preformatted(element: Fields): Block {
  const code = objects(element, 'elements')
    .map((each) => text(each, 'text') || text(each, 'url'))
    .join('')
  const language = text(element, 'language')
  return { kind: 'pre', text: code.replace(/\n$/, ''), ...(language && { language }) }
}

type List = Block & { kind: 'list' }

function nested(run: readonly Fields[], names: SlackNames): Block[] {
  const roots: List[] = []
  const path: { indent: number; list: List }[] = []
  for (const element of run) {
    const indent = Number(element['indent']) || 0
    const ordered = element['style'] === 'ordered'
    while (path.length && path.at(-1)!.indent > indent) path.pop()
    let top = path.at(-1)
    if (!top || top.indent < indent || top.list.ordered !== ordered) {
      if (top?.indent === indent) path.pop()
      const start = Number(element['offset']) || 0
      const list: List = { kind: 'list', ordered, items: [], ...(start && { start: start + 1 }) }
      const parent = path.at(-1)?.list.items.at(-1)
      if (parent) parent.push(list)
      else roots.push(list)
      path.push((top = { indent, list }))
    }
    for (const item of objects(element, 'elements'))
      top.list.items.push([{ kind: 'p', of: trimmed(inlines(item, names)) }])
  }
  return roots
}

const inlines = (element: Fields, names: SlackNames): Inline[] =>
  objects(element, 'elements').map((each) => styled(leaf(each, names), fields(each, 'style')))

function leaf(element: Fields, names: SlackNames): Inline {
  switch (element['type']) {
    case 'text': {
      const inner = text(element, 'text')
      const isCode = fields(element, 'style')['code'] === true
      return isCode ? { kind: 'code', text: inner } : inner
    }
    case 'link': {
      const url = text(element, 'url')
      return { kind: 'link', url, of: [text(element, 'text') || url] }
    }
    case 'user': {
      const id = text(element, 'user_id')
      return { kind: 'person', id, name: names.person(id) ?? id }
    }
    case 'channel': {
      const id = text(element, 'channel_id')
      return { kind: 'room', id, name: names.room(id) ?? id }
    }
    case 'usergroup': {
      const id = text(element, 'usergroup_id')
      return `@${names.group(id) ?? id}`
    }
    case 'broadcast':
      return { kind: 'everyone', name: text(element, 'range') }
    case 'emoji':
      return emoji(element)
    case 'date':
      return text(element, 'fallback') || dateOf(element['timestamp'])
    case 'color':
      return text(element, 'value')
    default:
      return text(element, 'text')
  }
}

function dateOf(seconds: unknown): string {
  const date = new Date(Number(seconds) * 1000)
  return Number.isNaN(date.getTime()) ? '' : date.toISOString()
}

function emoji(element: Fields): string {
  const name = text(element, 'name')
  const tone = Number(element['skin_tone']) || 0
  return emojiOf(tone ? `${name}::skin-tone-${tone}` : name) ?? `:${name}:`
}

function styled(node: Inline, style: Fields): Inline {
  let all = node
  if (style['strike'] === true) all = { kind: 'del', of: [all] }
  if (style['italic'] === true) all = { kind: 'i', of: [all] }
  if (style['bold'] === true) all = { kind: 'b', of: [all] }
  if (style['underline'] === true) all = { kind: 'u', of: [all] }
  return all
}

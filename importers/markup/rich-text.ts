import type { Text } from '#importers/format.ts'
import { escapeHtml } from '#importers/markup/html.ts'

/**
 * Text as a small tree, for formats whose marks no library reads: a tokeniser makes the tree, and
 * this writes both of its Matrix forms.
 */
export type Inline =
  | string
  | { kind: 'b' | 'i' | 'del' | 'u' | 'spoiler'; of: Inline[] }
  | { kind: 'code'; text: string }
  | { kind: 'link'; url: string; of: Inline[] }
  | { kind: 'person' | 'room'; id: string; name: string }
  /** `@here`, `@channel`: by its name, without the sign. */
  | { kind: 'everyone'; name: string }
  | { kind: 'break' }

export type Block =
  | { kind: 'p'; of: Inline[] }
  | { kind: 'heading'; level: number; of: Inline[] }
  | { kind: 'quote'; of: Block[] }
  | { kind: 'pre'; text: string; language?: string }
  | { kind: 'list'; ordered: boolean; start?: number; items: Block[][] }
  | { kind: 'rule' }

/** Both Matrix forms of a tree, and whom it mentions; no HTML where it says no more than the body. */
export function toText(blocks: readonly Block[]): Text {
  const found: Found = { people: new Set(), everyone: false }
  const html = toHtml(blocks, found)
  return {
    body: toBody(blocks),
    ...(isRich(blocks) && { html }),
    ...(found.people.size > 0 && { mentions: [...found.people] }),
    ...(found.everyone && { mentionsRoom: true }),
  }
}

/** Who is mentioned, gathered while HTML is written. */
type Found = { people: Set<string>; everyone: boolean }

/** A link's target if it is one that clients may open, else undefined. */
export function safeUrl(url: string): string | undefined {
  return /^(https?|ftp|mailto|magnet|matrix):/i.test(url) ? url : undefined
}

/** Whether the tree is more than lines of plain text, so that HTML tells what the plain body does not. */
function isRich(blocks: readonly Block[]): boolean {
  return blocks.some((block) => {
    if (block.kind !== 'p') return true
    return block.of.some((each) => typeof each !== 'string' && !isPlain(each))
  })
}

/** A link that is its own label is made a link by every client. */
const isPlain = (each: Exclude<Inline, string>) =>
  each.kind === 'break' ||
  each.kind === 'everyone' ||
  (each.kind === 'link' && each.of.length === 1 && each.of[0] === each.url)

function toHtml(blocks: readonly Block[], found: Found): string {
  if (blocks.length === 1 && blocks[0]?.kind === 'p') return inlineHtml(blocks[0].of, found)
  return blocks.map((block) => blockHtml(block, found)).join('')
}

function blockHtml(block: Block, found: Found): string {
  switch (block.kind) {
    case 'p':
      return `<p>${inlineHtml(block.of, found)}</p>`
    case 'heading':
      return `<h${block.level}>${inlineHtml(block.of, found)}</h${block.level}>`
    case 'quote':
      return `<blockquote>${toHtml(block.of, found)}</blockquote>`
    case 'pre': {
      const language = block.language ? ` class="language-${escapeHtml(block.language)}"` : ''
      return `<pre><code${language}>${escapeHtml(block.text)}</code></pre>`
    }
    case 'list': {
      const items = block.items.map((item) => `<li>${toHtml(item, found)}</li>`).join('')
      if (!block.ordered) return `<ul>${items}</ul>`
      const start = block.start !== undefined && block.start !== 1 ? ` start="${block.start}"` : ''
      return `<ol${start}>${items}</ol>`
    }
    case 'rule':
      return '<hr>'
  }
}

function inlineHtml(nodes: readonly Inline[], found: Found): string {
  return nodes.map((node) => oneHtml(node, found)).join('')
}

function oneHtml(node: Inline, found: Found): string {
  if (typeof node === 'string') return escapeHtml(node).replaceAll('\n', '<br>')
  switch (node.kind) {
    case 'b':
      return `<strong>${inlineHtml(node.of, found)}</strong>`
    case 'i':
      return `<em>${inlineHtml(node.of, found)}</em>`
    case 'del':
    case 'u':
      return `<${node.kind}>${inlineHtml(node.of, found)}</${node.kind}>`
    case 'spoiler':
      return `<span data-mx-spoiler>${inlineHtml(node.of, found)}</span>`
    case 'code':
      return `<code>${escapeHtml(node.text)}</code>`
    case 'link': {
      const inner = inlineHtml(node.of, found)
      return safeUrl(node.url) ? `<a href="${escapeHtml(node.url)}">${inner}</a>` : inner
    }
    case 'person':
      found.people.add(node.id)
      return `<a data-person="${escapeHtml(node.id)}">@${escapeHtml(node.name)}</a>`
    case 'room':
      return `<a data-room="${escapeHtml(node.id)}">#${escapeHtml(node.name)}</a>`
    case 'everyone':
      found.everyone = true
      return `@${escapeHtml(node.name)}`
    case 'break':
      return '<br>'
  }
}

/** The plain body: no marks but those that a reader needs to tell lines apart. */
function toBody(blocks: readonly Block[]): string {
  return blocks.map(blockBody).join('\n')
}

function blockBody(block: Block): string {
  switch (block.kind) {
    case 'p':
    case 'heading':
      return inlineBody(block.of)
    case 'quote':
      return prefixed(toBody(block.of), '> ', '> ')
    case 'pre':
      return `\`\`\`${block.language ?? ''}\n${block.text}\n\`\`\``
    case 'list':
      return block.items
        .map((item, index) => {
          const mark = block.ordered ? `${(block.start ?? 1) + index}. ` : '• '
          return prefixed(toBody(item), mark, ' '.repeat(mark.length))
        })
        .join('\n')
    case 'rule':
      return '---'
  }
}

const prefixed = (text: string, first: string, rest: string) =>
  text
    .split('\n')
    .map((line, index) => (index ? rest : first) + line)
    .join('\n')

/** The plain text of a run. */
function inlineBody(nodes: readonly Inline[]): string {
  return nodes.map(oneBody).join('')
}

function oneBody(node: Inline): string {
  if (typeof node === 'string') return node
  switch (node.kind) {
    case 'code':
      return `\`${node.text}\``
    case 'link': {
      const label = inlineBody(node.of)
      return label === node.url || `mailto:${label}` === node.url ? label : `${label} (${node.url})`
    }
    case 'person':
    case 'everyone':
      return `@${node.name}`
    case 'room':
      return `#${node.name}`
    case 'break':
      return '\n'
    case 'spoiler':
      return `||${inlineBody(node.of)}||`
    default:
      return inlineBody(node.of)
  }
}

import { Parser } from 'htmlparser2'
import sanitize from 'sanitize-html'

/** Where names in HTML lead to; nothing for what is not known, of which the text stays. */
export type Links = {
  person(id: string): string | undefined
  room(id: string): string | undefined
}

/** Text as it is written in HTML. */
export function escapeHtml(text: string): string {
  return text
    .replaceAll('&', '&amp;')
    .replaceAll('<', '&lt;')
    .replaceAll('>', '&gt;')
    .replaceAll('"', '&quot;')
}

/** What is safe as it stands: elements without attributes, and links of the web. Most of what Markdown becomes is. */
const harmless =
  /&(?:amp|lt|gt|quot|#39);|<\/?(?:p|strong|em|b|i|u|s|code|pre|del|ul|ol|li|blockquote|br|hr|h[1-6]|a|span)>|<a href="(?:https?|mailto):(?:[!#-%'-;=?-[\]-_a-~]|&amp;)*">/y
const beginning = /[<&]/g

function isHarmless(html: string): boolean {
  beginning.lastIndex = 0
  for (let found = beginning.exec(html); found; found = beginning.exec(html)) {
    harmless.lastIndex = found.index
    if (!harmless.test(html)) return false
    beginning.lastIndex = harmless.lastIndex
  }
  return true
}

/** The name of a person as readers of formats write it. */
const plainPerson = /<a data-person="([^"<>&]*)">([^<]*)<\/a>/g

/** Spec: client-server API, m.room.message msgtypes: what clients may be expected to show of HTML. */
const allowedTags =
  'del h1 h2 h3 h4 h5 h6 blockquote p a ul ol sup sub li b i u strong em s code hr br div table thead tbody tr th td caption pre span img details summary'.split(
    ' ',
  )

const named = ['person', 'room'] as const

/** HTML as Matrix clients show it and nothing else, with names of the export turned into links. */
export function safeHtml(html: string, links: Links): string {
  const linked = html.replace(plainPerson, (_, id: string, name: string) => {
    const href = links.person(id)
    return href === undefined ? `<span>${name}</span>` : `<a href="${escapeHtml(href)}">${name}</a>`
  })
  if (isHarmless(linked)) return linked
  // Each costs as much as all else that is done for a message.
  return sanitize(html, {
    allowedTags,
    allowedAttributes: {
      a: ['href'],
      ol: ['start'],
      code: ['class'],
      img: ['src', 'width', 'height', 'alt', 'title', 'data-mx-emoticon'],
      span: ['data-mx-color', 'data-mx-bg-color', 'data-mx-spoiler', 'data-mx-maths'],
      div: ['data-mx-maths'],
    },
    allowedClasses: { code: ['language-*'] },
    allowedSchemes: ['https', 'http', 'ftp', 'mailto', 'magnet', 'matrix'],
    allowedSchemesByTag: { img: ['mxc'] },
    allowProtocolRelative: false,
    exclusiveFilter: ({ tag, attribs }) => tag === 'img' && !attribs['src']?.startsWith('mxc:'),
    // Spec: clients shall not nest deeper.
    nestingLimit: 100,
    transformTags: {
      strike: 'del',
      a(tagName, attributes) {
        for (const kind of named) {
          const id = attributes[`data-${kind}`]
          if (id === undefined) continue
          const href = links[kind](id)
          return href === undefined
            ? { tagName: 'span', attribs: {} }
            : { tagName, attribs: { href } }
        }
        return { tagName, attribs: attributes }
      },
    },
  })
}

const blocks = new Set(
  'p div h1 h2 h3 h4 h5 h6 blockquote ul ol li pre table tr hr br details summary caption'.split(
    ' ',
  ),
)
const silent = new Set(['script', 'style', 'head', 'title'])

/** HTML as text to be read: lines, list marks, quotes; images by what they show, links by their label and target. */
export function plainOf(html: string): string {
  const writer = new PlainWriter()
  const parser = new Parser(
    {
      onopentag: (name, attributes) => writer.open(name, attributes),
      ontext: (text) => writer.text(text),
      onclosetag: (name) => writer.close(name),
    },
    { decodeEntities: true },
  )
  parser.write(html)
  parser.end()
  return writer.out.trim()
}

type Attributes = { [name: string]: string }

class PlainWriter {
  out = ''
  #quotes = 0
  #mute = 0
  #pre = 0
  /** How many lines end before the next text. */
  #newlines = 0
  readonly #targets: { href: string; from: number }[] = []
  readonly #lists: (number | undefined)[] = []

  open(name: string, attributes: Attributes): void {
    if (silent.has(name)) this.#mute++
    if (name === 'br') this.#newlines++
    else if (blocks.has(name)) this.#newlines = Math.max(this.#newlines, 1)
    if (name === 'pre') this.#pre++
    else if (name === 'blockquote') this.#quotes++
    else if (name === 'ul') this.#lists.push(undefined)
    else if (name === 'ol') this.#lists.push(Number(attributes['start'] ?? 1))
    else if (name === 'li')
      this.#write('  '.repeat(Math.max(this.#lists.length - 1, 0)) + this.#mark())
    else if (name === 'hr') this.#write('---')
    else if (name === 'img') this.#write(attributes['alt'] ?? '')
    else if ((name === 'td' || name === 'th') && this.#newlines === 0) this.#write(' | ')
    else if (name === 'a')
      this.#targets.push({ href: attributes['href'] ?? '', from: this.out.length })
  }

  text(text: string): void {
    if (this.#mute > 0) return
    // Lines of the source are no lines of the text, but in code.
    const shown = this.#pre > 0 ? text : text.replace(/\s*\n\s*/g, this.#newlines > 0 ? '' : ' ')
    if (shown === '' || (this.#newlines > 0 && this.#pre === 0 && shown.trim() === '')) return
    const [first = '', ...more] = shown.split('\n')
    if (first !== '') this.#write(first)
    for (const each of more) {
      this.#newlines++
      if (each !== '') this.#write(each)
    }
  }

  close(name: string): void {
    if (silent.has(name)) this.#mute--
    if (name === 'pre') this.#pre--
    else if (name === 'blockquote') this.#quotes--
    else if (name === 'ul' || name === 'ol') this.#lists.pop()
    else if (name === 'a') {
      const { href, from } = this.#targets.pop() ?? { href: '', from: 0 }
      const label = this.out.slice(from).trim()
      const shown = href.replace(/^mailto:/, '')
      if (/^(https?|ftp|mailto):/.test(href) && label !== shown && label !== href)
        this.#write(` (${shown})`)
    }
    if (blocks.has(name) && name !== 'br') this.#newlines = Math.max(this.#newlines, 1)
  }

  #mark(): string {
    const number = this.#lists.at(-1)
    if (number === undefined) return '• '
    this.#lists[this.#lists.length - 1] = number + 1
    return `${number}. `
  }

  #write(text: string): void {
    if (this.#newlines > 0 && this.out !== '') {
      this.out = this.out.trimEnd() + `\n${'> '.repeat(this.#quotes)}`.repeat(this.#newlines)
    } else if (this.out === '') this.out = '> '.repeat(this.#quotes)
    this.#newlines = 0
    this.out += text
  }
}

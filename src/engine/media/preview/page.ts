import { decodeEntities } from '#engine/media/preview/entities.ts'

/** What a page says of itself. */
export type Page = {
  properties: { [name: string]: string }
  /** The addresses of pictures, absolute, best first. */
  pictures: string[]
}

const maxText = 1000
/** What the properties may be called, beside those that are read from elsewhere if they are lacking. */
const taken =
  /^og:(title|type|url|description|site_name|locale|determiner|image:alt|audio|video)$|^(article|profile|book):[a-z_]{1,40}$/

/**
 * Reads the OpenGraph data of a page; what it lacks is taken from the page's own title, description
 * and pictures.
 *
 * Spec: https://ogp.me/
 */
export function readPage(html: string, address: string): Page {
  const meta = new Map<string, string>()
  const found = { title: '', icon: '', picture: '', base: '' }
  const rewriter = new HTMLRewriter()
    .on('meta', {
      element(element) {
        const name = (
          element.getAttribute('property') ??
          element.getAttribute('name') ??
          ''
        ).toLowerCase()
        const content = textOf(element.getAttribute('content') ?? '')
        // The first one counts: later ones tell of further pictures.
        if (content !== '' && meta.size < 500 && !meta.has(name)) meta.set(name, content)
      },
    })
    .on('head > title', {
      text(chunk) {
        if (found.title.length < 4 * maxText) found.title += chunk.text
      },
    })
    .on('link[rel~="apple-touch-icon"]', {
      element: (element) => void (found.icon ||= element.getAttribute('href') ?? ''),
    })
    .on('link[rel="image_src"]', {
      element: (element) => void (found.picture ||= element.getAttribute('href') ?? ''),
    })
    .on('base[href]', {
      element: (element) => void (found.base ||= element.getAttribute('href') ?? ''),
    })
  rewriter.transform(html)

  const properties: Page['properties'] = {}
  for (const [name, content] of meta) if (taken.test(name)) properties[name] = content
  const title = meta.get('og:title') ?? meta.get('twitter:title') ?? textOf(found.title)
  if (title !== '') properties['og:title'] = title
  const description =
    meta.get('og:description') ?? meta.get('twitter:description') ?? meta.get('description')
  if (description !== undefined) properties['og:description'] = description

  const base = URL.parse(decodeEntities(found.base), address)?.href ?? address
  const pictures = [
    meta.get('og:image:secure_url'),
    meta.get('og:image'),
    meta.get('og:image:url'),
    meta.get('twitter:image'),
    found.picture,
    found.icon,
  ].flatMap((text) => (text ? (URL.parse(decodeEntities(text), base)?.href ?? []) : []))
  return { properties, pictures: [...new Set(pictures)].slice(0, 3) }
}

const textOf = (raw: string): string =>
  decodeEntities(raw)
    .toWellFormed()
    .replace(/[\s\0]+/g, ' ')
    .trim()
    .slice(0, maxText)
    .replace(/[\ud800-\udbff]$/, '')

/** The text of a page, by the character set that it comes with. */
export function decodePage(bytes: Uint8Array, contentType: string): string {
  const start = Buffer.from(bytes.buffer, bytes.byteOffset, Math.min(bytes.length, 1024))
  const named =
    /charset\s*=\s*["']?([\w-]+)/i.exec(contentType)?.[1] ??
    /<meta[^>]{0,200}?charset\s*=\s*["']?([\w-]+)/i.exec(start.toString('latin1'))?.[1]
  try {
    return new TextDecoder((named ?? 'utf-8') as Bun.Encoding).decode(bytes)
  } catch {
    // There is no such character set: most of it will be readable all the same.
    return new TextDecoder().decode(bytes)
  }
}

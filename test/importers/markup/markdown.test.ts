import { expect, test } from 'bun:test'
import { addToken } from '#importers/markup/tokens.ts'
import { createMarkdown } from '#importers/markup/markdown.ts'

const plain = createMarkdown()

test('text without marks has no HTML', () => {
  for (const source of [
    'Well, 3 - 2 = 1: is it not + so?',
    'at 12:30, or 12.5 (see above); "so"!',
    'a/b c:d e;f',
  ])
    expect(plain(source)).toEqual({ body: source })
})

test('marks at the beginning are marks', () => {
  expect(plain('- one').html).toBe('<ul>\n<li>one</li>\n</ul>')
  expect(plain('+ one').html).toBe('<ul>\n<li>one</li>\n</ul>')
  expect(plain('1. one').html).toBe('<ol>\n<li>one</li>\n</ol>')
  expect(plain('    code').html).toBe('<pre><code>code\n</code></pre>')
  expect(plain('# one').html).toBe('<h1>one</h1>')
})

test('names between colons are for whoever knows them', () => {
  const named = createMarkdown((md) =>
    addToken(md, 'emoji', ':', /:([+\w-]+):/y, ([, name]) => `<${name}>`),
  )
  expect(named('hello :+1: there').html).toBe('hello <+1> there')
})

import { expect, test } from 'bun:test'
import { createMarkdown } from '#importers/markup/markdown.ts'

const render = createMarkdown()
const link = (url: string, href = url) => `<a href="${href}">${url}</a>`

test.each([
  ['see https://example.org/a_b_c. *x*', `see ${link('https://example.org/a_b_c')}. <em>x</em>`],
  ['(https://example.org/a_(b)) *x*', `(${link('https://example.org/a_(b)')}) <em>x</em>`],
  ['**https://example.org/**', `<strong>${link('https://example.org/')}</strong>`],
  ['https://example.org/?a=1&b=2, *x*', `${link('https://example.org/?a=1&amp;b=2')}, <em>x</em>`],
  ['[label](https://example.org/)', '<a href="https://example.org/">label</a>'],
  ['[https://a.example](https://b.example)', '<a href="https://b.example">https://a.example</a>'],
  ['`https://example.org`', '<code>https://example.org</code>'],
  [
    'https://exämple.org/ü *x*',
    `${link('https://exämple.org/ü', 'https://xn--exmple-cua.org/%C3%BC')} <em>x</em>`,
  ],
])('of %j', (source, html) => {
  expect(render(source).html).toBe(html)
})

test.each([
  'main.rs and a@example.org',
  'javascript://x',
  'xhttps://example.org',
  'https://',
  '::// https:// !',
  'https://example.org alone',
])('nothing is told by HTML of %j', (source) => {
  expect(render(source)).toEqual({ body: source })
})

test('a text of nothing but URLs and brackets is read at once', () => {
  const source = 'https://a))))))))))))((((((( '.repeat(1000) + 'https://' + ')'.repeat(20000)
  expect(render(source).body).toBe(source)
})

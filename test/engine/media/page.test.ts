import { describe, expect, test } from 'bun:test'
import { decodePage, readPage } from '#engine/media/preview/page.ts'

const address = 'https://example.org/a/page'
const read = (head: string) => readPage(`<html><head>${head}</head><body></body></html>`, address)

describe('what a page says of itself', () => {
  test('is its OpenGraph data, the first of each, and nothing else', () => {
    const { properties, pictures } = read(`
      <meta property="og:title" content="  A &amp; B\n &#8211; &eacute;&#x1F431; ">
      <meta property="og:title" content="Another">
      <meta property="og:description" content="Words">
      <meta property="og:site_name" content="Site">
      <meta property="og:image" content="/cat.png?a=1&amp;b=2">
      <meta property="og:image:width" content="99">
      <meta property="og:evil" content="x">
      <meta property="matrix:image:size" content="1">
      <meta name="keywords" content="x">
      <title>Not this</title>`)
    expect(properties).toEqual({
      'og:title': 'A & B – é🐱',
      'og:description': 'Words',
      'og:site_name': 'Site',
    })
    expect(pictures).toEqual(['https://example.org/cat.png?a=1&b=2'])
  })

  test('is its own title, description and picture where that is lacking', () => {
    const { properties, pictures } = read(`
      <title> Own &quot;title&quot; </title><meta name="Description" content="Own words">
      <base href="https://cdn.example.org/x/"><link rel="shortcut apple-touch-icon" href="icon.png">`)
    expect(properties).toEqual({ 'og:title': 'Own "title"', 'og:description': 'Own words' })
    expect(pictures).toEqual(['https://cdn.example.org/x/icon.png'])
  })

  test('may be nothing', () => {
    expect(readPage('', address)).toEqual({ properties: {}, pictures: [] })
    expect(readPage('<<<>&#0;&#xD800;&nosuch;', address)).toEqual({ properties: {}, pictures: [] })
  })

  test('is cut where it is long', () => {
    const { properties } = read(`<title>${'🐱'.repeat(5000)}</title>`)
    expect(properties['og:title']!.length).toBe(1000)
    expect(properties['og:title']!.isWellFormed()).toBe(true)
  })
})

test('a page is read in the character set that it names', () => {
  const latin = Buffer.from('<meta charset="iso-8859-1"><title>é</title>', 'latin1')
  expect(decodePage(latin, 'text/html')).toContain('é')
  expect(decodePage(Buffer.from('é', 'latin1'), 'text/html; charset=ISO-8859-1')).toBe('é')
  expect(decodePage(Buffer.from('é'), 'text/html')).toBe('é')
  expect(decodePage(Buffer.from('é'), 'text/html; charset=nonsense')).toBe('é')
})

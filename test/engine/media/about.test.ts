import { expect, test } from 'bun:test'
import { contentTypeOf, dispositionOf, fileNameIn, fileNameOf } from '#engine/media/about.ts'
import { parseMxc } from '#engine/media/keys.ts'

test('a content type is passed on only if it can be a header', () => {
  expect(contentTypeOf(' text/plain; charset=utf-8 ')).toBe('text/plain; charset=utf-8')
  for (const bad of [null, '', 'text', 'text/', 'a/b\r\nX: y', 'a/b; é', `a/${'b'.repeat(300)}`])
    expect(contentTypeOf(bad)).toBe('application/octet-stream')
})

test('the name in a disposition is the one that knows more characters', () => {
  const names: [disposition: string | undefined, name: string | null][] = [
    ['inline; filename="a \\"b\\".png"', 'a "b".png'],
    ["attachment; filename=a.png; filename*=UTF-8'en'%E2%82%AC.png", '€.png'],
    ["attachment; filename=a.png; filename*=UTF-8''%FF", 'a.png'],
    ['inline; filename=a', 'a'],
    ['inline', null],
    ['inline; filename=""', null],
    [undefined, null],
  ]
  for (const [disposition, name] of names) expect(fileNameIn(disposition)).toBe(name)
})

test('what is written as a disposition is read as the same name', () => {
  for (const name of ['a', 'a b', 'a"b\\c', "é'()*", '日本.png', 'x;y=z', 'filename=x'])
    expect(fileNameIn(dispositionOf('image/png', name))).toBe(name)
})

test('a name has no end of line, and an end', () => {
  expect(fileNameOf('a\r\n\u0000\u2028b')).toBe('ab')
  expect(fileNameOf('🐱'.repeat(300))!.length).toBe(254)
  expect(fileNameOf(' ')).toBeNull()
})

test('an mxc URI has a server and an ID of few characters', () => {
  expect(parseMxc('mxc://a.test:8448/x_-9')).toEqual({ serverName: 'a.test:8448', mediaId: 'x_-9' })
  for (const bad of ['', 'mxc://a/', 'mxc:///x', 'mxc://a/../x', 'http://a/x', 'mxc://a b/x'])
    expect(parseMxc(bad)).toBeUndefined()
})

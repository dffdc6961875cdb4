import { describe, expect, test } from 'bun:test'
import { MultipartFault, MultipartReader, boundaryOf } from '#core/multipart.ts'

type Part = { headers: Record<string, string>; body: string }

/** Reads a body in pieces of so many bytes. */
function read(body: string, size = body.length || 1, boundary = 'b'): Part[] {
  const parts: Part[] = []
  const reader = new MultipartReader(boundary, {
    begin: (headers) => void parts.push({ headers: Object.fromEntries(headers), body: '' }),
    data: (bytes) => void (parts.at(-1)!.body += Buffer.from(bytes).toString('latin1')),
    end: () => void (parts.at(-1)!.body += '|'),
  })
  const bytes = Buffer.from(body, 'latin1')
  for (let at = 0; at < bytes.length; at += size) reader.push(bytes.subarray(at, at + size))
  reader.end()
  return parts
}

const two = [
  '--b\r\nContent-Type: application/json\r\n\r\n{}\r\n',
  '--b\r\ncontent-type:image/png\r\nX-A: b: c\r\n\r\nab\r\n--\r\n-b\r\n--bcd',
].join('')

describe('a body in parts', () => {
  test('is read alike in pieces of any size', () => {
    const expected = [
      { headers: { 'content-type': 'application/json' }, body: '{}|' },
      { headers: { 'content-type': 'image/png', 'x-a': 'b: c' }, body: 'ab\r\n--\r\n-b|' },
    ]
    const body = two.slice(0, -2) + '--\r\nwhat follows'
    for (let size = 1; size <= body.length; size++) expect(read(body, size)).toEqual(expected)
  })

  test('may have something before its first boundary, and nothing in its parts', () => {
    expect(read('hello\r\n--b\r\n\r\n\r\n--b  \r\n\r\nx\r\n--b--')).toEqual([
      { headers: {}, body: '|' },
      { headers: {}, body: 'x|' },
    ])
  })

  test('is refused without its last boundary, with headers without an end or without a name', () => {
    const bad = [
      '',
      '--b',
      '--b\r\n\r\nx',
      '--b\r\n\r\nx\r\n--b',
      '--b\r\nA: b',
      '--bc\r\n\r\nx\r\n--b--',
      `--b\r\nA: ${'x'.repeat(20_000)}`,
      `--b${' '.repeat(20_000)}`,
      '--b\r\nnothing\r\n\r\nx\r\n--b--',
      '--b\r\n: x\r\n\r\nx\r\n--b--',
    ]
    for (const body of bad) expect(() => read(body, 7)).toThrow(MultipartFault)
  })
})

test('the boundary is taken from the content type, quoted or not', () => {
  expect(boundaryOf('multipart/mixed; boundary=abc')).toBe('abc')
  expect(boundaryOf('Multipart/Mixed;charset=x; BOUNDARY="a b"; x=y')).toBe('a b')
  expect(boundaryOf('multipart/mixed')).toBeUndefined()
  expect(boundaryOf('text/plain; boundary=abc')).toBeUndefined()
  expect(boundaryOf(`multipart/mixed; boundary=${'x'.repeat(71)}`)).toBeUndefined()
})

import { expect, test } from 'bun:test'
import { SigningKey } from '#core/signing.ts'
import {
  authorizationHeader,
  parseAuthorization,
  requestText,
  type SignedRequest,
  verifyRequest,
} from '#core/x-matrix.ts'

const key = new SigningKey('key1', new Uint8Array(32).fill(1))
const request: SignedRequest = {
  method: 'PUT',
  uri: '/_matrix/federation/v1/send/1?a=%20b',
  origin: 'origin.hs.example.com',
  destination: 'destination.hs.example.com:8448',
  content: { b: [1.5], a: 'é' },
}

test('the signature covers method, target, both names and the body', () => {
  expect(requestText(request)).toBe(
    '{"content":{"a":"é","b":[1.5]},"destination":"destination.hs.example.com:8448","method":"PUT","origin":"origin.hs.example.com","uri":"/_matrix/federation/v1/send/1?a=%20b"}',
  )
  const { content: _, ...bare } = request
  expect(requestText(bare)).not.toContain('content')
  expect(requestText({ ...request, content: null })).toContain('"content":null')
})

test('a request that we sign is one that we accept, and no other', () => {
  const header = authorizationHeader(request, key)
  expect(header).toStartWith('X-Matrix origin="origin.hs.example.com",destination="')
  const parsed = parseAuthorization(header)!
  expect(parsed).toMatchObject({
    origin: request.origin,
    destination: request.destination,
    keyId: 'ed25519:key1',
  })
  expect(verifyRequest(request, parsed, key.publicKey)).toBe(true)
  const { content: _, ...bodiless } = request
  for (const other of [
    { ...request, method: 'POST' },
    { ...request, uri: '/_matrix/federation/v1/send/1?a= b' },
    { ...request, origin: 'evil' },
    { ...request, destination: 'evil' },
    { ...request, content: {} },
    bodiless,
  ])
    expect(verifyRequest(other, parsed, key.publicKey)).toBe(false)
})

test('a body is compared as it came, and else in its canonical form', () => {
  const header = authorizationHeader(request, key)
  const parsed = parseAuthorization(header)!
  const came = (text: string) => verifyRequest({ ...request, text }, parsed, key.publicKey)
  expect(came('{"a":"é","b":[1.5]}')).toBe(true)
  expect(came(' { "b": [1.5], "a": "\\u00e9" }\n')).toBe(true)
  const other = { ...request, content: { a: 'e', b: [1.5] } }
  for (const text of ['{"a":"e","b":[1.5]}', '{"b":[1.5],"a":"e"}'])
    expect(verifyRequest({ ...other, text }, parsed, key.publicKey)).toBe(false)
  // What is signed otherwise is signed by the origin all the same.
  const odd = '{"b":[1.5],"a":"é"}'
  const text = `{"content":${odd},${requestText({ ...request, content: undefined })!.slice(1)}`
  const signature = key.sign(text)
  expect(verifyRequest({ ...request, text: odd }, { ...parsed, signature }, key.publicKey)).toBe(
    true,
  )
  expect(verifyRequest(request, { ...parsed, signature }, key.publicKey)).toBe(false)
})

const parsed = { origin: 'a.b', destination: 'c:80', keyId: 'ed25519:1', signature: 'x+/y' }

test.each([
  'X-Matrix origin="a.b",destination="c:80",key="ed25519:1",sig="x+/y"',
  'X-Matrix origin=a.b,destination=c:80,key=ed25519:1,sig=x+/y',
  'x-mATRIX   SIG="x+/y" ,\t Key="ed25519:1"\t,ORIGIN=a.b,Destination="c:80"',
  'X-Matrix origin="\\a\\.b",destination="c:80",key="ed25519:1",sig="x+/y"',
  'X-Matrix origin="a.b",destination="c:80",key="ed25519:1",signature="x+/y"',
  'X-Matrix origin="a.b",destination="c:80",key="ed25519:1",sig="x+/y",new="a,b=\\"",other=1',
])('the header %s is read', (header) => expect(parseAuthorization(header)).toEqual(parsed))

test('an old server may leave its destination out', () => {
  const header = 'X-Matrix origin=a.b,key="ed25519:1",sig="x"'
  expect(parseAuthorization(header)).toMatchObject({ destination: undefined })
})

test.each([
  '',
  'Bearer abc',
  'X-Matrix',
  'X-Matrix ',
  'X-Matrixorigin=a,key=ed25519:1,sig=x',
  'X-Matrix origin=a,key=ed25519:1',
  'X-Matrix key=ed25519:1,sig=x',
  'X-Matrix origin=a b,key=ed25519:1,sig=x',
  'X-Matrix origin="a,key=ed25519:1,sig=x',
  'X-Matrix origin="a" x,key=ed25519:1,sig=x',
  'X-Matrix origin="a/b",key=ed25519:1,sig=x',
  'X-Matrix origin=a,key=rsa:1,sig=x',
  'X-Matrix ,,,',
])('the header %p is refused', (header) => expect(parseAuthorization(header)).toBeUndefined())

test('a long hostile header is refused without backtracking for ever', () => {
  for (const part of ['\\', '"', 'a=', ' ', ',', '="\\'])
    expect(parseAuthorization(`X-Matrix origin="${part.repeat(50_000)}`)).toBeUndefined()
})

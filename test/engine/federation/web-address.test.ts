import { expect, test } from 'bun:test'
import { parseWebAddress } from '#engine/federation/web-address.ts'

test.each([
  ['https://a.test/push?x=1#y', { host: 'a.test', port: 443, plain: false }, '/push?x=1'],
  ['http://a.test', { host: 'a.test', port: 80, plain: true }, '/'],
  ['https://[2001:db8::1]:8448/', { host: '2001:db8::1', port: 8448, plain: false }, '/'],
])('%s leads to where it says, and is trusted by nobody', (address, target, uri) => {
  const found = parseWebAddress(address)
  expect(found).toMatchObject({ target: { ...target, trusted: false }, uri })
})

test.each(['', 'a.test', 'file:///etc/passwd', 'ftp://a.test/', 'https://me:secret@a.test/'])(
  '%j is no address of the web',
  (address) => {
    expect(parseWebAddress(address)).toBeUndefined()
  },
)

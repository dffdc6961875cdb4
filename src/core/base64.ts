/**
 * Unpadded base64, the way Matrix writes binary data. Reading takes padding or none, and both
 * alphabets, since the network holds all of them.
 *
 * Spec: appendices/#unpadded-base64
 */
export const encodeBase64 = (bytes: Uint8Array): string => bytes.toBase64({ omitPadding: true })

export const encodeBase64Url = (bytes: Uint8Array): string =>
  bytes.toBase64({ alphabet: 'base64url', omitPadding: true })

/** The bytes, or undefined if the text is not base64. Left-over bits of the last digit are ignored. */
export function decodeBase64(text: string): Uint8Array | undefined {
  if (!/^[A-Za-z0-9+/_-]*={0,2}$/.test(text)) return undefined
  const digits = text.replaceAll('=', '')
  if (digits.length % 4 === 1) return undefined
  return Buffer.from(digits, 'base64')
}

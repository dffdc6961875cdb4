/**
 * Unpadded base64, the way Matrix writes binary data. Reading takes padding or none, and both
 * alphabets, since the network holds all of them.
 *
 * Spec: appendices/#unpadded-base64
 */
export const encodeBase64 = (bytes: Uint8Array): string => bytes.toBase64({ omitPadding: true })

export const encodeBase64Url = (bytes: Uint8Array): string =>
  bytes.toBase64({ alphabet: 'base64url', omitPadding: true })

/** Whether a text is base64, of either alphabet, with padding or without. */
export function isBase64(text: string): boolean {
  if (!/^[A-Za-z0-9+/_-]*={0,2}$/.test(text)) return false
  const padding = text.indexOf('=')
  return (padding < 0 ? text.length : padding) % 4 !== 1
}

/** The bytes, or undefined if the text is not base64. Left-over bits of the last digit are ignored. */
export const decodeBase64 = (text: string): Uint8Array | undefined =>
  // Buffer takes both alphabets.
  isBase64(text) ? Buffer.from(text, 'base64') : undefined

export const capitals = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ'
export const lettersAndDigits = `${capitals}${capitals.toLowerCase()}0123456789`

/** Each character is as likely as any other. */
export function randomText(alphabet: string, length: number): string {
  const bound = 256 - (256 % alphabet.length)
  let text = ''
  while (text.length < length)
    for (const byte of crypto.getRandomValues(new Uint8Array(length)))
      if (byte < bound && text.length < length) text += alphabet[byte % alphabet.length]
  return text
}

/** What nobody can guess. */
export const secretText = (prefix: string): string =>
  `${prefix}_${randomText(lettersAndDigits, 43)}`

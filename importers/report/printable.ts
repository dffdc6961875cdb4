/** A text from an export as it may stand on a terminal: names in it could move the cursor, or more. */
export const printable = (text: string): string =>
  text.replace(/\p{Cc}/gu, (order) => (order === '\n' || order === '\t' ? order : '\ufffd'))

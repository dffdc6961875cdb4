/**
 * What unpacks to so much more than it is, that nobody packed it for keeping. Text of chats packs to a tenth
 * or a twentieth; deflate reaches a thousandth.
 */
const ratio = 200
const smallEntry = 64 * 1024 * 1024
const smallArchive = 1024 * 1024 * 1024

/** Whether one entry is a bomb. */
export function isBomb(packed: number, unpacked: number): boolean {
  return unpacked > smallEntry && unpacked > packed * ratio
}

/** Whether an archive is one, all entries together. */
export function isBombTogether(packed: number, unpacked: number): boolean {
  return unpacked > smallArchive && unpacked > packed * ratio
}

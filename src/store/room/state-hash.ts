/**
 * The hash of a set of pairs of numbers, whatever their order: the sum of the hashes of its pairs, in
 * four lanes of 32 bits. So a change of one entry costs two pairs, in a room of any size, and every
 * way to reach a state gives the same hash.
 *
 * It is no cryptographic hash, and need not be: the numbers are ours, not a peer's, and what peers can
 * do is to have many of their own events accepted in a room. A sum of 128 bits then takes millions of
 * accepted state events to be made equal to another on purpose, and would confuse that room only.
 */
export type SetHash = Uint32Array

export const emptyHash = (): SetHash => new Uint32Array(4)

const rotate = (x: number, by: number) => (x << by) | (x >>> (32 - by))

/** The final mix of each lane: every bit of the input reaches every bit of the output. */
function scatter(x: number): number {
  x = Math.imul(x ^ (x >>> 16), 0x85ebca6b)
  x = Math.imul(x ^ (x >>> 13), 0xc2b2ae35)
  return x ^ (x >>> 16)
}

/** Adds a pair to a hash, in place. */
export const addPair = (hash: SetHash, key: number, value: number): void => sum(hash, key, value, 1)

/** Takes a pair away, in place. */
export const removePair = (hash: SetHash, key: number, value: number): void =>
  sum(hash, key, value, -1)

function sum(hash: SetHash, key: number, value: number, sign: 1 | -1): void {
  // Each lane starts from one half of one number, then takes from the others in two rounds.
  let a = scatter(Math.imul(key >>> 0, 0x239b961b) ^ 0x1b873593)
  let b = scatter(Math.imul(Math.floor(key / 0x1_0000_0000), 0xab0e9789) ^ 0x38b34ae5)
  let c = scatter(Math.imul(value >>> 0, 0xa1e38b93) ^ 0x561ccd1b)
  let d = scatter(Math.imul(Math.floor(value / 0x1_0000_0000), 0x0bcaa747) ^ 0x96cd1c35)
  for (let round = 0; round < 2; round++) {
    a = (a + b) | 0
    d = rotate(d ^ a, 16)
    c = (c + d) | 0
    b = rotate(b ^ c, 12)
    a = (a + scatter(b ^ c)) | 0
    d = rotate(d ^ a, 8)
    c = (c + scatter(d ^ a)) | 0
    b = rotate(b ^ c, 7)
  }
  hash[0] = hash[0]! + sign * (scatter(a) >>> 0)
  hash[1] = hash[1]! + sign * (scatter(b) >>> 0)
  hash[2] = hash[2]! + sign * (scatter(c) >>> 0)
  hash[3] = hash[3]! + sign * (scatter(d) >>> 0)
}

export const sameHash = (a: SetHash, b: SetHash): boolean =>
  a[0] === b[0] && a[1] === b[1] && a[2] === b[2] && a[3] === b[3]

/** The 16 bytes that are stored, big-endian. */
export function hashBytes(hash: SetHash): Uint8Array {
  const bytes = new Uint8Array(16)
  const view = new DataView(bytes.buffer)
  for (let lane = 0; lane < 4; lane++) view.setUint32(4 * lane, hash[lane]!)
  return bytes
}

export function hashFromBytes(bytes: Uint8Array): SetHash {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  return Uint32Array.from({ length: 4 }, (_, lane) => view.getUint32(4 * lane))
}

/** For maps from hashes. */
export const hashText = (hash: SetHash): string => Buffer.from(hashBytes(hash)).toString('hex')

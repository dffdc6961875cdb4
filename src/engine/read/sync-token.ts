import { invalidParam } from '#core/error.ts'
import { SHARDS } from '#core/shard.ts'
import { Reader, writeVarint } from './varint.ts'
import { type Vector, newVector } from './vector.ts'

/**
 * Sync tokens: `s`, then in base64url a format byte, the room shards' positions and the user shards'
 * positions as varints, a run of zeros as 0 and its length. What follows is for what later formats
 * add (such as the epoch of typing); this one takes none.
 *
 * Nothing of a token is kept by the server: it is good on any process, and after a restart.
 */
const format = 1

// 128 positions of 8 bytes, and some room.
const maxLength = 1500

export function encodeToken({ rooms, users }: Vector): string {
  const bytes: number[] = [format]
  writePositions(bytes, rooms)
  writePositions(bytes, users)
  return `s${Buffer.from(bytes).toString('base64url')}`
}

/** The vector of a token; one that this server did not make is the client's mistake. */
export function decodeToken(token: string): Vector {
  const vector = parseToken(token)
  if (!vector) throw invalidParam('The token is not one that this server gave out')
  return vector
}

export const isSyncToken = (token: string): boolean => token.startsWith('s')

function parseToken(token: string): Vector | undefined {
  if (token.length > maxLength || !/^s[\w-]+$/.test(token)) return undefined
  const reader = new Reader(Buffer.from(token.slice(1), 'base64url'))
  if (reader.byte() !== format) return undefined
  const vector = newVector()
  const whole = readPositions(reader, vector.rooms) && readPositions(reader, vector.users)
  return whole && reader.atEnd ? vector : undefined
}

function writePositions(bytes: number[], positions: Float64Array): void {
  for (let shard = 0; shard < positions.length; shard++) {
    const position = positions[shard]!
    writeVarint(bytes, position)
    if (position !== 0) continue
    let run = 1
    while (shard + run < positions.length && positions[shard + run] === 0) run++
    writeVarint(bytes, run)
    shard += run - 1
  }
}

function readPositions(reader: Reader, positions: Float64Array): boolean {
  for (let shard = 0; shard < SHARDS; shard++) {
    const position = reader.varint()
    if (position === undefined) return false
    if (position !== 0) {
      positions[shard] = position
      continue
    }
    const run = reader.varint()
    if (!run || shard + run > SHARDS) return false
    shard += run - 1
  }
  return true
}

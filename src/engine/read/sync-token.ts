import { invalidParam } from '#core/error.ts'
import { SHARDS } from '#core/shard.ts'
import { Reader, writeVarint } from './varint.ts'
import { type Vector, newVector } from './vector.ts'

/**
 * Sync tokens: `s`, then in base64url a format byte, the room shards' positions and the user shards'
 * positions as varints, a run of zeros as 0 and its length. What follows are parts that not every
 * token has, each a number that names it and then its own: 1 is how far to-device messages were told,
 * 2 what was told of who types: an epoch, a position, and the rooms where somebody did, by number; 3 what
 * was told of who is there: an epoch and a position.
 *
 * Nothing of a token is kept by the server: it is good on any process, and after a restart.
 */
const format = 1
const toDevicePart = 1
const typingPart = 2
const presencePart = 3

/** A point in the streams, with what was not told up to it. */
export type SyncToken = Vector & {
  /** In the stream of the user: to-device messages were told up to here only. */
  readonly toDevice?: number
  readonly typing?: TypingPoint
  readonly presence?: PresencePoint
}

/** What was told of who is there: up to a position in one life of the server. */
export type PresencePoint = { readonly epoch: number; readonly at: number }

/** What was told of who types: up to a position in one life of the server. */
export type TypingPoint = {
  readonly epoch: number
  readonly at: number
  /** Where somebody typed: some of them. */
  readonly rooms: readonly number[]
}

const maxTypingRooms = 16

// 128 positions of 8 bytes, 16 rooms, and some room.
const maxLength = 1800

export function encodeToken({ rooms, users, toDevice, typing, presence }: SyncToken): string {
  const bytes: number[] = [format]
  writePositions(bytes, rooms)
  writePositions(bytes, users)
  if (toDevice !== undefined) {
    writeVarint(bytes, toDevicePart)
    writeVarint(bytes, toDevice)
  }
  if (typing !== undefined) {
    writeVarint(bytes, typingPart)
    for (const each of [typing.epoch, typing.at, typing.rooms.length, ...typing.rooms])
      writeVarint(bytes, each)
  }
  if (presence !== undefined)
    for (const each of [presencePart, presence.epoch, presence.at]) writeVarint(bytes, each)
  return `s${Buffer.from(bytes).toString('base64url')}`
}

/** What a token says; one that this server did not make is the client's mistake. */
export function decodeToken(token: string): SyncToken {
  const parsed = parseToken(token)
  if (!parsed) throw invalidParam('The token is not one that this server gave out')
  return parsed
}

export const isSyncToken = (token: string): boolean => token.startsWith('s')

function parseToken(text: string): SyncToken | undefined {
  if (text.length > maxLength || !/^s[\w-]+$/.test(text)) return undefined
  const reader = new Reader(Buffer.from(text.slice(1), 'base64url'))
  if (reader.byte() !== format) return undefined
  const vector = newVector()
  if (!readPositions(reader, vector.rooms) || !readPositions(reader, vector.users)) return undefined
  let token: SyncToken = vector
  while (!reader.atEnd) {
    const part = reader.varint()
    if (part === toDevicePart && token.toDevice === undefined) {
      const toDevice = reader.varint()
      if (toDevice === undefined) return undefined
      token = { ...token, toDevice }
    } else if (part === typingPart && token.typing === undefined) {
      const typing = readTypingPoint(reader)
      if (!typing) return undefined
      token = { ...token, typing }
    } else if (part === presencePart && token.presence === undefined) {
      const [epoch, at] = [reader.varint(), reader.varint()]
      if (epoch === undefined || at === undefined) return undefined
      token = { ...token, presence: { epoch, at } }
    } else return undefined
  }
  return token
}

function readTypingPoint(reader: Reader): TypingPoint | undefined {
  const epoch = reader.varint()
  const at = reader.varint()
  const count = reader.varint()
  if (epoch === undefined || at === undefined || count === undefined) return undefined
  if (count > maxTypingRooms) return undefined
  const rooms: number[] = []
  for (let index = 0; index < count; index++) {
    const room = reader.varint()
    if (room === undefined) return undefined
    rooms.push(room)
  }
  return { epoch, at, rooms }
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

import { invalidParam } from '#core/error.ts'
import { Reader, writeVarint } from './varint.ts'

/**
 * A place in a room's reading order: an event, and the side of it that was not yet read. It stays
 * right when history is inserted on that side later.
 */
export type TimelinePlace = {
  chain: number
  index: number
  side: 'before' | 'after'
  /** For a place with nothing before it: the position of the sync that gave it out. */
  position?: number
}

const format = 1

// Indexes of chains that grew towards older are below zero.
const zero = 2 ** 32

export function encodePlace({ chain, index, side, position }: TimelinePlace): string {
  const bytes = [format]
  writeVarint(bytes, chain)
  writeVarint(bytes, (index + zero) * 2 + (side === 'after' ? 1 : 0))
  if (position !== undefined) writeVarint(bytes, position)
  return `t${Buffer.from(bytes).toString('base64url')}`
}

/** The place of a token; one that this server did not make is the client's mistake. */
export function decodePlace(token: string): TimelinePlace {
  if (token.length <= 40 && /^t[\w-]+$/.test(token)) {
    const reader = new Reader(Buffer.from(token.slice(1), 'base64url'))
    if (reader.byte() === format) {
      const chain = reader.varint()
      const packed = reader.varint()
      const position = reader.atEnd ? undefined : reader.varint()
      if (chain !== undefined && packed !== undefined && reader.atEnd) {
        const index = Math.floor(packed / 2) - zero
        // Its neighbours are integers of the database too.
        if (Math.abs(index) <= 2 ** 31 - 2)
          return {
            chain,
            index,
            side: packed % 2 === 1 ? 'after' : 'before',
            ...(position !== undefined && { position }),
          }
      }
    }
  }
  throw invalidParam('The token is not one that this server gave out')
}

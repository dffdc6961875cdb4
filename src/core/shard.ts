import { createHash } from 'node:crypto'

/** How many shards rooms and users are dealt to; fixed when the database is made. */
export const SHARDS = 64

/** The shard that owns a room or a user: the first 8 bytes of SHA-256(ID), big-endian, modulo the count. */
export function shardOf(id: string, shards = SHARDS): number {
  const first = createHash('sha256').update(id).digest().readBigUInt64BE(0)
  return Number(first % BigInt(shards))
}

/** The shard that gave out a number of an event, room, chain or snapshot. */
export const shardOfNid = (nid: number): number => nid % SHARDS

/** How many shards rooms and users are dealt to; fixed when the database is made. */
export const SHARDS = 64

/** The shard that owns a room or a user: the first 8 bytes of SHA-256(ID), big-endian, modulo the count. */
export function shardOf(id: string, shards = SHARDS): number {
  const hash = Bun.SHA256.hash(id) as Uint8Array
  // A digit of the quotient at a time: numbers stay far below 2^53.
  let rest = 0
  for (let at = 0; at < 8; at++) rest = (rest * 256 + hash[at]!) % shards
  return rest
}

/** The shard that gave out a number of an event, room, chain or snapshot. */
export const shardOfNid = (nid: number): number => nid % SHARDS

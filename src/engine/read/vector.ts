import { SHARDS } from '#core/shard.ts'

/** How far each shard has been read: index = shard, value = position. */
export type Positions64 = Float64Array

/** A point in both streams: what a sync token holds, and what a sync answers for. */
export type Vector = { readonly rooms: Positions64; readonly users: Positions64 }

export const newVector = (): Vector => ({
  rooms: new Float64Array(SHARDS),
  users: new Float64Array(SHARDS),
})

export const copyVector = ({ rooms, users }: Vector): Vector => ({
  rooms: rooms.slice(),
  users: users.slice(),
})

/** Whether `a` is at or beyond `b` in every shard. */
export const reaches = (a: Vector, b: Vector): boolean =>
  a.rooms.every((position, shard) => position >= b.rooms[shard]!) &&
  a.users.every((position, shard) => position >= b.users[shard]!)

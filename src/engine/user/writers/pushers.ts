import { tooLarge } from '#core/error.ts'
import type { Sql } from '#store/db.ts'
import * as pushQueue from '#store/push/queue.ts'
import * as pushers from '#store/user/pushers.ts'
import { type CallsOf, type Results, type UserLanded, type Writers, lastOf } from './writer.ts'

export type PusherWish = Omit<pushers.NewPusher, 'shard' | 'userId' | 'position'> & {
  /** Other users keep theirs of the same key. */
  append: boolean
}

/** Where news is pushed to. */
export type PusherCalls = {
  /** Makes or changes a pusher; takes its key from other users unless it is to stay theirs, too. */
  setPusher: (userId: string, pusher: PusherWish) => UserLanded
  removePusher: (userId: string, key: pushers.PushKey) => UserLanded
}

export const pusherWriters: Writers<PusherCalls> = {
  setPusher: { write: setPushers, many: true },
  removePusher: { write: removePushers, many: true },
}

/** Not spec: pushers of one user. */
const maxPushers = 100

/** Spec: client-server-api/#post_matrixclientv3pushersset */
async function setPushers(
  sql: Sql,
  calls: CallsOf<PusherCalls['setPusher']>,
): Promise<Results<PusherCalls['setPusher']>> {
  const wanted = calls.map(({ shard, userId, position, args: [wish] }, index) => ({
    ...wish,
    shard,
    userId,
    position,
    index,
  }))
  const held = new Map(
    (await pushers.counts(sql, wanted)).map((row) => [row.user_id, row.count] as const),
  )
  const faults: Results<PusherCalls['setPusher']> = new Map()
  const rows = lastOf(wanted, (row) => [row.userId, row.appId, row.pushkey]).filter((row) => {
    const count = (held.get(row.userId) ?? 0) + 1
    held.set(row.userId, count)
    if (count > maxPushers)
      faults.set(row.index, tooLarge(`A user has at most ${maxPushers} pushers`))
    return count <= maxPushers
  })
  if (rows.length === 0) return faults
  await pushers.lock(sql, rows)
  // Of several users who take one key in the same commit, the last one has it.
  const taking = lastOf(
    rows.filter(({ append }) => !append),
    (row) => [row.appId, row.pushkey],
  )
  if (taking.length > 0) await pushQueue.dropOf(sql, await pushers.takeOver(sql, taking))
  const takers = new Map(taking.map((row) => [keyOf(row), row]))
  await pushers.put(
    sql,
    rows.filter((row) => {
      const taker = takers.get(keyOf(row))
      return !taker || taker.index <= row.index
    }),
  )
  return faults
}

const keyOf = ({ appId, pushkey }: pushers.PushKey) => JSON.stringify([appId, pushkey])

async function removePushers(sql: Sql, calls: CallsOf<PusherCalls['removePusher']>): Promise<void> {
  const keys = calls.map(({ shard, userId, args: [key] }) => ({ shard, userId, ...key }))
  await pushQueue.dropOf(sql, await pushers.remove(sql, keys))
}

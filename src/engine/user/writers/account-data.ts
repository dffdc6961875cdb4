import type { Sql } from '#store/db.ts'
import * as accountData from '#store/user/account-data.ts'
import * as forgottenRooms from '#store/user/forgotten-rooms.ts'
import { type CallsOf, type UserLanded, type Writers, lastOf } from './writer.ts'

/** What clients keep of rooms and in general. */
export type AccountDataCalls = {
  /** Replaces an entry of one room, or a global one; content is JSON text. */
  putAccountData: (
    userId: string,
    roomId: string | null,
    type: string,
    content: string,
  ) => UserLanded
  /** `memberEvent` is the leave (or ban) that is current; a later membership brings the room back. */
  forgetRoom: (userId: string, roomId: string, memberEvent: string) => UserLanded
}

export const accountDataWriters: Writers<AccountDataCalls> = {
  putAccountData: { write: putAccountData, many: true },
  forgetRoom: { write: forgetRooms, many: true },
}

async function putAccountData(
  sql: Sql,
  calls: CallsOf<AccountDataCalls['putAccountData']>,
): Promise<void> {
  const rows = calls.map(({ shard, userId, position, args: [roomId, type, content] }) => ({
    shard,
    userId,
    position,
    roomId: roomId ?? '',
    type,
    content,
  }))
  await accountData.put(
    sql,
    lastOf(rows, (row) => [row.userId, row.roomId, row.type]),
  )
}

async function forgetRooms(
  sql: Sql,
  calls: CallsOf<AccountDataCalls['forgetRoom']>,
): Promise<void> {
  const rows = calls.map(({ shard, userId, position, args: [roomId, memberEvent] }) => ({
    shard,
    userId,
    position,
    roomId,
    memberEvent,
  }))
  await forgottenRooms.put(
    sql,
    lastOf(rows, (row) => [row.userId, row.roomId]),
  )
}

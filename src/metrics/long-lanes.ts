import type { LaneReport } from '#engine/worker/lane-report.ts'
import type { RoomPool } from '#engine/worker/pool.ts'
import type { Sql } from '#store/db.ts'
import { ofRooms } from '#store/room/inbox-lanes.ts'
import * as inbox from '#store/room/inbox.ts'

/** One of the longest lanes: what of it is in a worker's memory, and what waits in the database. */
export type LongLane = Omit<LaneReport, 'roomId'> & {
  roomId: string
  /** The worker that has it; undefined if none answered for it. */
  thread: string | undefined
  /** Rows of the inbox, those in memory included. */
  inbox: number
  oldestMs: number
}

/** The lanes with the most to do, the longest first. */
export async function longestLanes(
  sql: Sql,
  rooms: Pick<RoomPool, 'lanes'>,
  now: number,
  limit: number,
): Promise<LongLane[]> {
  const longest = await inbox.longest(sql, limit)
  const wanted = { longest: limit, rooms: longest.map(({ room_id: roomId }) => roomId) }
  const answers = await rooms.lanes(wanted)
  const reports = answers.flatMap(({ thread, report }) =>
    (report ?? []).map((each) => [each.roomId, { thread, ...each }] as const),
  )
  const byRoom = new Map<string, LaneReport & { thread: string | undefined }>(reports)
  for (const { room_id: roomId } of longest)
    if (!byRoom.has(roomId)) byRoom.set(roomId, { thread: undefined, ...absent, roomId })
  const counts = await ofRooms(sql, [...byRoom.keys()])
  const inDatabase = new Map(counts.map((row) => [row.room_id, row]))
  const lanes = [...byRoom.values()].map((lane): LongLane => {
    const { rows = 0, oldest = now } = inDatabase.get(lane.roomId) ?? {}
    return { ...lane, inbox: rows, oldestMs: Math.max(0, now - oldest) }
  })
  const lengthOf = (lane: LongLane) => lane.local + Math.max(lane.inbound, lane.inbox)
  return lanes.sort((a, b) => lengthOf(b) - lengthOf(a)).slice(0, limit)
}

const absent = { local: 0, inbound: 0, parked: 0, uncommitted: 0, spentMs: 0, waits: [] }

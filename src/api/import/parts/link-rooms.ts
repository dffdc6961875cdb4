import { MatrixError } from '#core/error.ts'
import type { SessionRow } from '#store/import/sessions.ts'
import type { Context } from '#src/context.ts'

/**
 * Ties the room that holds the history to that in which people go on: a tombstone here, a word on what was
 * before there. Who may not say the latter leaves it out: the history is there all the same.
 *
 * MSC3946: `org.matrix.msc3946.room_predecessor`
 */
export async function linkRooms(ctx: Context, session: SessionRow, answer: string): Promise<void> {
  const { liveRoom, userId } = JSON.parse(session.wish) as {
    liveRoom: string | null
    userId: string
  }
  const { leader, merge_event_id: last } = JSON.parse(answer) as {
    leader?: string
    merge_event_id?: string
  }
  if (liveRoom === null || leader === undefined) return
  // An application service speaks for itself: the leader may be allowed more than it is.
  const sender = session.owner === userId ? leader : userId
  const send = async (roomId: string, type: string, content: object) => {
    try {
      await ctx.rooms.call('send', roomId, {
        sender,
        type,
        stateKey: '',
        content: JSON.stringify(content),
        txn: {
          userId: sender,
          deviceId: 'import',
          path: `import/${type}`,
          txnId: session.session_id,
        },
      })
    } catch (error) {
      if (!(error instanceof MatrixError) || (error.status !== 403 && error.status !== 404))
        throw error
      ctx.log.warn({ room: roomId, type, reason: error.message }, 'an archive was not linked')
    }
  }
  await send(liveRoom, 'org.matrix.msc3946.room_predecessor', {
    predecessor_room_id: session.room_id,
    ...(last !== undefined && { last_known_event_id: last }),
  })
  await send(session.room_id, 'm.room.tombstone', {
    body: 'This room holds the history: the conversation goes on elsewhere',
    replacement_room: liveRoom,
  })
}

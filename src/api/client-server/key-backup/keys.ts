import type { Context } from '#src/context.ts'
import * as backedUpKeys from '#store/user/backed-up-keys.ts'

/** A backup may hold a hundred thousand keys: they are read and written piece by piece. */
const atOnce = 500

export const readKey = (row: backedUpKeys.StoredKey) => ({
  first_message_index: row.first_message_index,
  forwarded_count: row.forwarded_count,
  is_verified: row.is_verified,
  session_data: JSON.parse(row.session_data) as object,
})

/** The keys of a backup as JSON: by room and session, or of one room by session. */
export function streamRooms(
  { sql }: Pick<Context, 'sql'>,
  selection: backedUpKeys.Selection,
): ReadableStream<Uint8Array> {
  const pieces = piecesOf(sql, selection)
  const encoder = new TextEncoder()
  return new ReadableStream({
    async pull(controller) {
      const { done, value } = await pieces.next()
      if (done) controller.close()
      else controller.enqueue(encoder.encode(value))
    },
    async cancel() {
      await pieces.return(undefined)
    },
  })
}

async function* piecesOf(
  sql: Context['sql'],
  selection: backedUpKeys.Selection,
): AsyncGenerator<string, undefined> {
  const isOneRoom = selection.roomId !== undefined
  let after = { roomId: '', sessionId: '' }
  let room: string | undefined
  let text = isOneRoom ? '{"sessions":{' : '{"rooms":{'
  for (;;) {
    const rows = await backedUpKeys.list(sql, selection, after, atOnce)
    for (const row of rows) {
      if (row.room_id === room) text += ','
      else if (!isOneRoom)
        text += `${room === undefined ? '' : '}},'}${JSON.stringify(row.room_id)}:{"sessions":{`
      room = row.room_id
      text += `${JSON.stringify(row.session_id)}:${JSON.stringify(readKey(row))}`
    }
    const last = rows.at(-1)
    if (!last || rows.length < atOnce) break
    after = { roomId: last.room_id, sessionId: last.session_id }
    yield text
    text = ''
  }
  yield `${text}${!isOneRoom && room !== undefined ? '}}' : ''}}}`
  return undefined
}

import type { JsonObject } from '#core/json.ts'
import type { ImportMode, ImportPerson, ImportPosition } from '#engine/worker/import-steps.ts'
import type { Rooms } from '#engine/worker/protocol.ts'
import { alice, us } from '#test/room-engine.ts'

type Line = { rooms: Rooms }

/** Somebody who is in no room: made for the import. */
export const ghost = (name: string) => us.user(`_import_${name}`)

export const person = (userId: string, more: Partial<ImportPerson> = {}): ImportPerson => ({
  userId,
  displayname: more.displayname ?? null,
  avatarUrl: more.avatarUrl ?? null,
  stays: more.stays ?? false,
})

export type Wish = {
  mode?: ImportMode
  source?: string
  position?: ImportPosition | null
  federate?: boolean
  owner?: string
  isAdmin?: boolean
  dryRun?: boolean
}

export type Answer = JsonObject & { session_id: string; next_batch: number }

const asked = async (answer: Promise<string>): Promise<Answer> => JSON.parse(await answer) as Answer

/** Opens a session as an administrator does. */
export const openImport = ({ rooms }: Line, roomId: string, wish: Wish = {}): Promise<Answer> =>
  asked(
    rooms.call('importHistory', roomId, {
      step: 'open',
      owner: alice,
      userId: alice,
      isAdmin: true,
      source: 'gitter',
      mode: 'insert',
      position: null,
      federate: false,
      dryRun: false,
      liveRoom: null,
      ...wish,
    }),
  )

export type Batch = {
  records: readonly (JsonObject | string)[]
  people?: readonly ImportPerson[]
  isAdmin?: boolean
}

export const sendBatch = (
  { rooms }: Line,
  roomId: string,
  sessionId: string,
  batch: number,
  { records, people = [], isAdmin = true }: Batch,
): Promise<Answer> =>
  asked(
    rooms.call('importHistory', roomId, {
      step: 'batch',
      sessionId,
      batch,
      people: [...people],
      records: records
        .map((each) => `${typeof each === 'string' ? each : JSON.stringify(each)}\n`)
        .join(''),
      isAdmin,
    }),
  )

export const endImport = (
  { rooms }: Line,
  roomId: string,
  sessionId: string,
  step: 'commit' | 'abort' | 'undo',
): Promise<Answer> => asked(rooms.call('importHistory', roomId, { step, sessionId, isAdmin: true }))

/** A message that was said elsewhere. */
export const message = (
  srcId: string,
  sender: string,
  ts: number,
  more: JsonObject = {},
): JsonObject => ({
  src_id: srcId,
  type: 'm.room.message',
  sender,
  ts,
  content: { msgtype: 'm.text', body: srcId },
  ...more,
})

/** Messages with names from `prefix0` on, a second apart. */
export const messages = (
  prefix: string,
  sender: string,
  count: number,
  from = 1_400_000_000_000,
): JsonObject[] =>
  Array.from({ length: count }, (_, index) =>
    message(`${prefix}${index}`, sender, from + 1_000 * index),
  )

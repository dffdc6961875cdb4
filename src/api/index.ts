import * as banning from '#api/client-server/banning.ts'
import * as eventContext from '#api/client-server/event-context.ts'
import * as inviting from '#api/client-server/inviting.ts'
import * as joining from '#api/client-server/joining.ts'
import * as kicking from '#api/client-server/kicking.ts'
import * as leaving from '#api/client-server/leaving.ts'
import * as listJoinedRooms from '#api/client-server/list-joined-rooms.ts'
import * as messagePagination from '#api/client-server/message-pagination.ts'
import * as redaction from '#api/client-server/redaction.ts'
import * as roomSend from '#api/client-server/room-send.ts'
import * as roomState from '#api/client-server/room-state.ts'
import * as rooms from '#api/client-server/rooms.ts'
import * as sync from '#api/client-server/sync.ts'
import type { AnyOp } from '#api/http/op.ts'

/** The table of contents: a spec file a line. Each exports its operations under their spec names. */
export const files: Readonly<Record<string, Record<string, AnyOp>>> = {
  'client-server/banning': banning,
  'client-server/event-context': eventContext,
  'client-server/inviting': inviting,
  'client-server/joining': joining,
  'client-server/kicking': kicking,
  'client-server/leaving': leaving,
  'client-server/list-joined-rooms': listJoinedRooms,
  'client-server/message-pagination': messagePagination,
  'client-server/redaction': redaction,
  'client-server/room-send': roomSend,
  'client-server/room-state': roomState,
  'client-server/rooms': rooms,
  'client-server/sync': sync,
}

/** All operations; what else a file exports is no operation, and is not exported. */
export const ops: readonly AnyOp[] = Object.values(files).flatMap((file) => Object.values(file))

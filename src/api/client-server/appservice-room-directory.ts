import { Type as t } from '@sinclair/typebox'
import { op } from '#api/http/op.ts'
import { invalidParam, notFound } from '#core/error.ts'
import { isShortText } from '#core/ids.ts'
import { RoomId, open } from '#core/schema.ts'
import { findRoom } from '#engine/read/room.ts'
import * as networkRooms from '#store/user/network-rooms.ts'

const path = '/directory/list/appservice/:networkId/:roomId'

export const updateAppserviceRoomDirectoryVisibility = op({
  id: 'updateAppserviceRoomDirectoryVisibility',
  method: 'PUT',
  path: `/_matrix/client/v3${path}`,
  also: [`/_matrix/client/r0${path}`],
  auth: 'appservice',
  params: open({ networkId: t.String(), roomId: RoomId }),
  body: open({ visibility: t.Union([t.Literal('public'), t.Literal('private')]) }),

  async run({ who: { appservice }, params: { networkId, roomId }, body: { visibility } }, ctx) {
    if (!isShortText(networkId) || networkId === '')
      throw invalidParam('The ID of a network has 1 to 255 bytes')
    const network = { appserviceId: appservice.id, networkId }
    if (visibility === 'private') await networkRooms.remove(ctx.sql, network, roomId)
    else if (!(await findRoom(ctx.sql, roomId))) throw notFound('There is no such room here')
    else await networkRooms.add(ctx.sql, network, roomId, ctx.clock())
    return {}
  },
})

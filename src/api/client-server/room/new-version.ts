import { MatrixError } from '#core/error.ts'
import { type RoomVersion, roomVersions } from '#core/room-version.ts'
import type { Context } from '#src/context.ts'

/** The version that a new room is wanted in, if rooms of it are made here. */
export function newVersion({ config }: Context, id: string): RoomVersion {
  const version = roomVersions.get(id)
  if (version && (!version.experimental || config.rooms.msc2716)) return version
  throw new MatrixError(
    400,
    'M_UNSUPPORTED_ROOM_VERSION',
    `This server makes no rooms of version '${id}'`,
  )
}

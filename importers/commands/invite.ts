import type { People } from '#importers/matrix/people.ts'
import type { Server } from '#importers/server/client.ts'
import { inviteInto } from '#importers/server/rooms.ts'
import type { RoomRow } from '#importers/state/ledger.ts'

/** Who of an export a room was between; nobody else could come in. */
const mostInvited = 1000

/**
 * Invites the members of a private or direct room who have a user here: it was made by the importer, and who
 * wrote nothing is not in it yet. Called when the history is in. Returns whom that could not be told.
 */
export async function inviteMembers(
  server: Server,
  people: People,
  room: RoomRow,
  roomId: string,
): Promise<{ invited: number; failed: { userId: string; why: string }[] }> {
  const users = (room.members ?? [])
    .map((person) => people.speaker(person))
    .filter((speaker) => speaker !== null && !speaker.isGhost && !speaker.isShared)
    .map((speaker) => speaker!.userId)
  return inviteInto(server, roomId, [...new Set(users)].slice(0, mostInvited), {
    isDirect: room.type === 'direct',
  })
}

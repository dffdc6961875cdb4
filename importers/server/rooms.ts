import type { Meta } from '#importers/state/database.ts'
import { importKey } from '#importers/matrix/content.ts'
import { Refused, type Server } from './client.ts'

export type RoomWish = {
  /** What tells it from all others that are made by this import. */
  key: string
  name?: string
  topic?: string
  visibility: 'public' | 'private'
  isDirect?: boolean
}

const most = 255

/** The ID of a room that is given as one or as an alias. */
export async function roomIdOf(server: Server, room: string): Promise<string> {
  if (room.startsWith('!')) return room
  const found = await server.get(`/_matrix/client/v3/directory/room/${encodeURIComponent(room)}`)
  return (found as { room_id: string }).room_id
}

/**
 * Makes a room, once. As a lost answer or a kill leaves a room that nobody knows, its creation says what it
 * is for: it is looked for before another is made.
 */
export async function createRoom(server: Server, meta: Meta, wish: RoomWish): Promise<string> {
  const flag = `creating ${wish.key}`
  for (;;) {
    if (meta.get(flag) !== undefined) {
      const found = await findCreated(server, wish.key)
      if (found !== undefined) return found
    }
    meta.set(flag, '1')
    try {
      const made = await server.request('POST', '/_matrix/client/v3/createRoom', {
        once: true,
        body: {
          preset: wish.visibility === 'public' ? 'public_chat' : 'private_chat',
          visibility: 'private',
          ...(wish.isDirect && { is_direct: true }),
          creation_content: { [importKey]: { room: wish.key } },
          ...(wish.name && { name: wish.name.slice(0, most) }),
          ...(wish.topic && { topic: wish.topic.slice(0, 10_000) }),
        },
      })
      return (made as { room_id: string }).room_id
    } catch (error) {
      if (error instanceof Refused && error.status !== 429 && error.status < 500) throw error
      // Asks with patience whether the server is there again.
      await server.get('/_matrix/client/v3/account/whoami')
      const pause = error instanceof Refused ? error.fields['retry_after_ms'] : undefined
      await Bun.sleep(typeof pause === 'number' ? pause : 500)
    }
  }
}

async function findCreated(server: Server, key: string): Promise<string | undefined> {
  const { joined_rooms: joined } = (await server.get('/_matrix/client/v3/joined_rooms')) as {
    joined_rooms: string[]
  }
  for (const roomId of joined) {
    const create = (await server.get(
      `/_matrix/client/v3/rooms/${encodeURIComponent(roomId)}/state/m.room.create`,
    )) as { [importKey]?: { room?: unknown } }
    if (create[importKey]?.room === key) return roomId
  }
  return undefined
}

/** Invites users who are not in a room; those who cannot be are told. */
export async function inviteInto(
  server: Server,
  roomId: string,
  userIds: readonly string[],
  { isDirect }: { isDirect: boolean },
): Promise<{ invited: number; failed: { userId: string; why: string }[] }> {
  const state = `/_matrix/client/v3/rooms/${encodeURIComponent(roomId)}/state/m.room.member/`
  const failed: { userId: string; why: string }[] = []
  let invited = 0
  for (const userId of userIds) {
    const path = state + encodeURIComponent(userId)
    try {
      const member = (await server.get(path).catch(unlessMissing)) as { membership?: string }
      if (/^(join|invite|ban)$/.test(member.membership ?? '')) continue
      // As state, since invites of their own call say nothing of being direct.
      await server.put(path, { membership: 'invite', ...(isDirect && { is_direct: true }) })
      invited++
    } catch (error) {
      if (!(error instanceof Refused)) throw error
      failed.push({ userId, why: error.message })
    }
  }
  return { invited, failed }
}

function unlessMissing(error: unknown): object {
  if (error instanceof Refused && error.status === 404) return {}
  throw error
}

/** What a user is called and looks like; nothing of one without a profile. */
export async function profileOf(
  server: Server,
  userId: string,
): Promise<{ displayname?: string; avatar_url?: string }> {
  try {
    const found = (await server.get(
      `/_matrix/client/v3/profile/${encodeURIComponent(userId)}`,
    )) as { displayname?: string; avatar_url?: string }
    return {
      ...(found.displayname && { displayname: found.displayname }),
      ...(found.avatar_url && { avatar_url: found.avatar_url }),
    }
  } catch (error) {
    if (error instanceof Refused && error.status === 404) return {}
    throw error
  }
}

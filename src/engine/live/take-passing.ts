import type { Edu } from '#core/event/edu.ts'
import type { ServerAcl } from '#core/server-acl.ts'
import type { Typing } from '#engine/live/typing.ts'
import { toRef } from '#engine/read/room-ref.ts'
import type { Sql } from '#store/db.ts'
import * as joined from '#store/room/joined.ts'

type TypingEdu = Extract<Edu, { type: 'm.typing' }>

export type TakingPassing = {
  sql: Sql
  typing: Typing
  /** Rooms as the intake knows them. */
  rooms: {
    find(
      sql: Sql,
      roomIds: readonly string[],
    ): Promise<Map<string, { kind: string; acl: ServerAcl | undefined }>>
  }
  onFault: (error: unknown) => void
}

/** Transactions whose passing news is looked into at once; of more it is lost. */
const maxAtOnce = 8

/** Takes in what other servers tell that may be lost: nobody waits for it, and it waits for nobody. */
export class PassingEdus {
  readonly #taking: TakingPassing
  #busy = 0

  constructor(taking: TakingPassing) {
    this.#taking = taking
  }

  /** Transactions in hand. */
  get busy(): number {
    return this.#busy
  }

  take(origin: string, edus: readonly Edu[]): void {
    const typing = edus.filter((edu) => edu.type === 'm.typing')
    if (typing.length === 0 || this.#busy >= maxAtOnce) return
    this.#busy++
    this.#takeTyping(origin, typing)
      .catch(this.#taking.onFault)
      .finally(() => this.#busy--)
  }

  async #takeTyping(origin: string, edus: readonly TypingEdu[]): Promise<void> {
    const { sql, rooms, typing } = this.#taking
    const roomIds = [...new Set(edus.map(({ roomId }) => roomId))]
    const userIds = [...new Set(edus.map(({ userId }) => userId))]
    const [found, members] = await Promise.all([
      rooms.find(sql, roomIds),
      joined.among(sql, roomIds, userIds),
    ])
    for (const edu of edus) {
      const known = found.get(edu.roomId)
      const row = members.find((each) => each.room_id === edu.roomId && each.user_id === edu.userId)
      const room = row && toRef(row)
      // Spec: server-server-api/#server-access-control-lists-acls
      if (!room || known?.kind !== 'joined' || (known.acl && !known.acl.allows(origin))) continue
      if (edu.typing) typing.startRemote(room, edu.userId)
      else typing.stop(room, edu.userId)
    }
  }
}

import { MatrixError } from '#core/error.ts'
import { isObject, type JsonObject } from '#core/json.ts'
import { shardOf } from '#core/shard.ts'
import type { Landed, Rooms } from '#engine/worker/protocol.ts'
import type { Sql } from '#store/db.ts'
import * as joinedMembers from '#store/user/joined-members.ts'
import * as profiles from '#store/user/profiles.ts'

export type ProfileNewsOptions = {
  sql: Sql
  rooms: Rooms
  onLanded: (landed: Landed) => void
  /** Told of a room that could not be told. */
  onFault: (error: unknown, roomId: string) => void
}

/** Rooms that are told at once. */
const maxAtOnce = 4
/** Users who may wait; the rooms of more are told at their next change. */
const maxUsers = 10_000
const retryMs = 1000

/** What a member event says of the user's profile. */
const told = ['displayname', 'avatar_url'] as const

/**
 * Tells the rooms of a user of a new name or picture, by new member events, in the background: a
 * user at a time and a few rooms at once, so that it delays nobody.
 *
 * Spec: client-server-api/#events-on-change-of-profile-information
 */
export class ProfileNews {
  readonly #options: ProfileNewsOptions
  /** A user who changes again while waiting is told of once. */
  readonly #users = new Set<string>()
  #running: Promise<void> | undefined
  #closed = false

  constructor(options: ProfileNewsOptions) {
    this.#options = options
  }

  /** Users of whose change rooms are still to be told. */
  get waiting(): number {
    return this.#users.size
  }

  changed(userId: string): void {
    if (this.#closed || this.#users.size >= maxUsers) return
    this.#users.add(userId)
    this.#start()
  }

  /** Resolves when everything is told. */
  async settled(): Promise<void> {
    while (this.#running) await this.#running
  }

  /** Ends after the rooms that are being told. */
  async close(): Promise<void> {
    this.#closed = true
    await this.#running
  }

  #start(): void {
    this.#running ??= this.#run().finally(() => {
      this.#running = undefined
      // Someone may have changed between the last look and now.
      if (this.#users.size > 0 && !this.#closed) this.#start()
    })
  }

  async #run(): Promise<void> {
    for (const userId of this.#users) {
      if (this.#closed) return
      this.#users.delete(userId)
      await this.#tell(userId).catch((error: unknown) => this.#options.onFault(error, ''))
    }
  }

  async #tell(userId: string): Promise<void> {
    const { sql } = this.#options
    const profile: JsonObject = {}
    for (const { name, value } of await profiles.list(sql, [userId], [shardOf(userId)]))
      profile[name] = JSON.parse(value) as string
    const members = [...(await joinedMembers.list(sql, userId))]
    const tellNext = async (): Promise<void> => {
      for (let next; (next = members.pop()) && !this.#closed;) {
        const content = newContent(next.json, profile)
        if (content) await this.#tellRoom(next.room_id, userId, content)
      }
    }
    await Promise.all(Array.from({ length: maxAtOnce }, tellNext))
  }

  async #tellRoom(roomId: string, userId: string, content: JsonObject): Promise<void> {
    const { rooms, onLanded, onFault } = this.#options
    const send = () =>
      rooms.call('send', roomId, {
        sender: userId,
        type: 'm.room.member',
        stateKey: userId,
        content: JSON.stringify(content),
      })
    try {
      onLanded(
        await send().catch(async (error: unknown) => {
          // A worker that restarts is back soon.
          if (!(error instanceof MatrixError) || error.status !== 503) throw error
          await Bun.sleep(retryMs)
          return send()
        }),
      )
    } catch (error) {
      onFault(error, roomId)
    }
  }
}

/** The content of the next member event; undefined if the room is up to date. */
function newContent(json: string, profile: JsonObject): JsonObject | undefined {
  const { content } = JSON.parse(json) as JsonObject
  if (!isObject(content ?? null)) return undefined
  const before = content as JsonObject
  if (told.every((name) => (before[name] ?? '') === (profile[name] ?? ''))) return undefined
  // Who let the user in, and why, was said of the join, and must not be said again.
  const { join_authorised_via_users_server: _, reason: __, ...after } = before
  for (const name of told) {
    delete after[name]
    if (profile[name] !== undefined && profile[name] !== '') after[name] = profile[name]
  }
  return { ...after, membership: 'join' }
}

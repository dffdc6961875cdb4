import { parseJson } from '#core/canonical-json.ts'
import { membershipOf } from '#core/content/m.room.member.ts'
import { isObject } from '#core/json.ts'
import { shardOfNid } from '#core/shard.ts'
import type { Sql } from '#store/db.ts'
import * as serve from '#store/federation/serve.ts'
import * as readKeys from '#store/room/read-keys.ts'
import * as users from '#store/user/users.ts'
import type { RoomRef } from './room-ref.ts'
import type { Snapshots } from './snapshots.ts'

/** Who is erased. */
export type Erased = Pick<ErasedUsers, 'size' | 'has'>

/**
 * The users who wanted to be erased, kept in memory: they are few, and every event that is shown has a
 * sender. Whoever was not in the room when they sent something is shown a redacted copy.
 *
 * Spec: client-server-api/#post_matrixclientv3accountdeactivate
 */
export class ErasedUsers {
  readonly #sql: Sql
  #ids: ReadonlySet<string> = new Set()

  constructor(sql: Sql) {
    this.#sql = sql
  }

  /** Looks who they are: at the start, and after each that is added. */
  async refresh(): Promise<void> {
    this.#ids = new Set((await users.erased(this.#sql)).map((row) => row.user_id))
  }

  get size(): number {
    return this.#ids.size
  }

  has(userId: string): boolean {
    return this.#ids.has(userId)
  }
}

/**
 * Which of some events a server gets redacted: those of erased users of this server that are no state,
 * and were sent when nobody of that server was in the room.
 */
export async function erasedFor(
  { sql, snapshots, erased }: ErasedReader,
  { shard, roomNid }: Pick<RoomRef, 'shard' | 'roomNid'>,
  origin: string,
  rows: readonly serve.ServedRow[],
): Promise<Set<number>> {
  const hidden = new Set<number>()
  if (!erased || erased.size === 0) return hidden
  const theirs = rows.filter((row) => row.state_key_nid === null && erased.has(senderOf(row.json)))
  if (theirs.length === 0) return hidden
  const keys = await serve.memberKeys(sql, shard, roomNid, origin)
  const before = [...new Set(theirs.flatMap((row) => row.snapshot_nid ?? []))]
  const states = await snapshots.lookup(sql, before, keys)
  const nids = [...new Set([...states.values()].flatMap((state) => [...state.values()]))]
  const joined = new Set<number>()
  for (const row of await readKeys.jsonOf(sql, nids.map(shardOfNid), nids)) {
    const event = parseJson(row.json)
    const content = isObject(event) ? event['content'] : undefined
    if (isObject(content) && membershipOf(content) === 'join') joined.add(row.event_nid)
  }
  for (const { event_nid: nid, snapshot_nid: snapshot } of theirs) {
    const state = snapshot === null ? undefined : states.get(snapshot)
    if (![...(state?.values() ?? [])].some((member) => joined.has(member))) hidden.add(nid)
  }
  return hidden
}

type ErasedReader = { readonly sql: Sql; readonly snapshots: Snapshots; readonly erased?: Erased }

function senderOf(json: string): string {
  const event = parseJson(json)
  const sender = isObject(event) ? event['sender'] : undefined
  return typeof sender === 'string' ? sender : ''
}

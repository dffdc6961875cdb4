import { roomVersions } from '#core/room-version.ts'
import { shardOf } from '#core/shard.ts'
import { decodeToken } from '#engine/read/sync-token.ts'
import type { Sql } from '#store/db.ts'
import { eventFlags } from '#store/room/batch.ts'
import { unpackEventId } from '#store/room/event-id.ts'
import { members } from '#store/room/server-sets.ts'
import type { Room } from './world.ts'

/** What a server knows of an event beside what clients see. */
export type Fact = {
  readonly prev: readonly string[]
  readonly redacts: string | undefined
  /** Its place in the stream that /sync follows; undefined for what is not in it. */
  readonly position: number | undefined
  readonly softFailed: boolean
  readonly rejected: boolean
  /** Known beside the graph only: as state, or as an auth event. */
  readonly outlier: boolean
  /** The servers that this one sends it to, if it does. */
  readonly sentTo: ReadonlySet<string> | undefined
  /** What it is and where it stands, for whoever looks for the cause of a difference. */
  readonly place: string
}

/** What a server knows of a room. */
export type Knowledge = {
  readonly facts: ReadonlyMap<string, Fact>
  /** What a server of ours knows beyond that. */
  readonly own?: {
    /** Where the state of this key last changed, and whether it is gone since. */
    change(key: string): { position: number; gone: boolean } | undefined
    /** Whether the answer with this token was given for a stretch that has the position in it. */
    covers(token: string, position: number): boolean
  }
}

/** Undefined for a server that cannot be looked into. */
export type Insight = (server: string, room: Room) => Promise<Knowledge | undefined>

/** What a Laneway knows of a room, by its database. */
export async function lanewayKnowledge(sql: Sql, room: Room): Promise<Knowledge> {
  const { roomId } = room
  const changes = await readChanges(sql, roomId)
  const shard = shardOf(roomId)
  return {
    facts: await readFacts(sql, room),
    own: {
      change: (key) => changes.get(key) ?? changes.get(allOfIt),
      covers: (token, position) => decodeToken(token).rooms[shard]! >= position,
    },
  }
}

type EventRow = {
  event_id: Uint8Array
  position: number | null
  destination_set: number | null
  flags: number
  json: string
  place: string
}

async function readFacts(sql: Sql, { roomId, version }: Room): Promise<Map<string, Fact>> {
  const rows = await sql<EventRow[]>`
    select e.event_id, e.position, e.destination_set, e.flags, j.json,
      concat_ws(' ', 'chain', e.chain, e.chain_index, 'position', e.position, 'flags', e.flags,
        r.reason) place
    from events e join event_json j using (shard, event_nid)
    left join rejections r using (shard, event_nid)
    where e.room_nid = (select room_nid from rooms where room_id = ${roomId})`
  const sets = new Set(rows.flatMap((row) => row.destination_set ?? []))
  const servers = new Map(
    (await sql<{ server_nid: number; name: string }[]>`select server_nid, name from servers`).map(
      (row) => [row.server_nid, row.name],
    ),
  )
  const sentTo = new Map(
    [...(await members(sql, [...sets]))].map(([nid, list]) => [
      nid,
      new Set(list.flatMap((server) => servers.get(server) ?? [])),
    ]),
  )
  return new Map(
    rows.map((row) => [
      unpackEventId(row.event_id, roomVersions.get(version)!),
      {
        ...factIn(row.json),
        position: row.position ?? undefined,
        softFailed: (row.flags & eventFlags.softFailed) !== 0,
        rejected: (row.flags & eventFlags.rejected) !== 0,
        outlier: (row.flags & eventFlags.outlier) !== 0,
        sentTo: row.destination_set === null ? undefined : sentTo.get(row.destination_set),
        place: `${placeIn(row.json)}, ${row.place}`,
      },
    ]),
  )
}

type EventJson = {
  prev_events: (string | [string])[]
  type: string
  sender: string
  redacts?: string
  content: { redacts?: string }
}

/** What the event itself says, in any room version. */
export function factIn(json: string): Pick<Fact, 'prev' | 'redacts'> {
  const { prev_events: prev, redacts, content } = JSON.parse(json) as EventJson
  return {
    prev: prev.map((each) => (typeof each === 'string' ? each : each[0])),
    redacts: redacts ?? content.redacts,
  }
}

export function placeIn(json: string): string {
  const { type, sender } = JSON.parse(json) as EventJson
  return `${type} of ${sender}`
}

/** Stands for every key: the whole state was replaced. */
const allOfIt = ''

async function readChanges(sql: Sql, roomId: string) {
  const rows = await sql<
    { type: string | null; state_key: string | null; position: number; gone: boolean }[]
  >`
    select distinct on (d.state_key_nid) t.type, k.state_key, d.position,
      d.new_event_nid is null as gone
    from state_deltas d
    left join event_types t on t.type_nid = d.type_nid
    left join state_keys k on k.state_key_nid = d.state_key_nid
    where d.room_nid = (select room_nid from rooms where room_id = ${roomId})
    order by d.state_key_nid, d.position desc`
  const replacedAt = rows.find(({ type }) => type === null)?.position ?? -1
  return new Map(
    rows
      .filter(({ position }) => position >= replacedAt)
      .map(({ type, state_key: key, position, gone }) => [
        type === null ? allOfIt : `${type}|${key}`,
        { position, gone },
      ]),
  )
}

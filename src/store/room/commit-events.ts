import type { RoomPart } from './batch.ts'
import * as fold from './fold.ts'
import { arrayText, jsonTexts } from './statement.ts'

/**
 * What nearly every commit writes, as parts of one statement. Here every microsecond counts for each
 * event, so rows are not JSON, which costs PostgreSQL more to unpack than to store: numbers are one flat
 * array in which an event has `width` places, IDs one string of bytes, texts one text.
 */
export const eventTypes = {
  numbers: 'bigint[]',
  starts: 'integer[]',
  references: 'bigint[]',
  ids: 'bytea',
  texts: 'text',
  internals: 'text',
  goneShards: 'smallint[]',
  goneRooms: 'bigint[]',
  goneEvents: 'bigint[]',
  addedShards: 'smallint[]',
  addedRooms: 'bigint[]',
  addedEvents: 'bigint[]',
  useShards: 'smallint[]',
  useNids: 'bigint[]',
  useCounts: 'integer[]',
  inboxShards: 'smallint[]',
  inboxIds: 'bigint[]',
} as const

type Values = Record<keyof typeof eventTypes, string | Uint8Array>

// −1 stands for null, in columns that are never negative; an index is null where its chain is. Array subscripts are the cheapest way to a
// value, as long as the array holds no null.
export const eventParts = `
  ids as (
    insert into event_ids (event_id, shard, event_nid)
    select substring(ids from n[o + 17]::integer for n[o + 18]::integer), n[o + 1]::smallint, n[o + 3]
    from (select $numbers as n, $ids as ids) v, unnest($starts) o
    where n[o + 19] = 0
  ), texts as (
    insert into event_json (shard, event_nid, json, internal)
    select n[o + 1]::smallint, n[o + 3], json, nullif(internal, '')
    from (select $numbers as n) v, rows from (
      unnest($starts), string_to_table($texts, E'\\x1e'), string_to_table($internals, E'\\x1e')
    ) as t (o, json, internal)
  ), events as (
    insert into events (
      shard, room_nid, event_nid, type_nid, state_key_nid, sender_nid, depth, origin_server_ts,
      chain, chain_index, position, ingest, flags, push_flags, snapshot_nid, destination_set,
      event_id, prev_nids, auth_nids)
    select
      n[o + 1]::smallint, n[o + 2], n[o + 3], n[o + 4]::integer, nullif(n[o + 5], -1), n[o + 6],
      n[o + 7], n[o + 8], nullif(n[o + 9], -1),
      case when n[o + 9] <> -1 then n[o + 10]::integer end,
      nullif(n[o + 11], -1), nullif(n[o + 12], -1), n[o + 13]::smallint, n[o + 14]::integer,
      nullif(n[o + 15], -1), nullif(n[o + 16], -1),
      substring(ids from n[o + 17]::integer for n[o + 18]::integer),
      refs[n[o + 20] : n[o + 21]], refs[n[o + 21] + 1 : n[o + 22]]
    from (select $numbers as n, $ids as ids, $references as refs) v, unnest($starts) o
  ), gone as (
    delete from extremities x
    using unnest($goneShards, $goneRooms, $goneEvents) as t (shard, room_nid, event_nid)
    where x.shard = t.shard and x.room_nid = t.room_nid and x.event_nid = t.event_nid
  ), added as (
    insert into extremities (shard, room_nid, event_nid)
    select * from unnest($addedShards, $addedRooms, $addedEvents)
  ), counted as (
    update snapshots s set refs = s.refs + t.refs
    from unnest($useShards, $useNids, $useCounts) as t (shard, snapshot_nid, refs)
    where s.shard = t.shard and s.snapshot_nid = t.snapshot_nid
    returning 1
  )`

/** Apart, so that what did not come by the inbox waits for no lock on it. */
export const inboxParts = `
  done as (
    delete from inbox i
    using unnest($inboxShards, $inboxIds) as t (shard, inbox_id)
    where i.shard = t.shard and i.inbox_id = t.inbox_id
  )`

/** Nothing may build on a snapshot that is not there. */
export const eventChecks = `
  laneway_require((select count(*) from counted) = cardinality($useNids), 'LW003',
    'A snapshot that is built on is not there')`

/** `uses` are of snapshots that are there already. */
export function eventValues(
  parts: readonly RoomPart[],
  uses: ReadonlyMap<string, fold.SnapshotUse>,
): Values {
  const inbox = { shards: [] as number[], ids: [] as number[] }
  for (const part of parts)
    for (const id of part.inbox) {
      inbox.shards.push(part.shard)
      inbox.ids.push(id)
    }
  const { gone, added } = fold.extremityRows(parts)
  const counts = [...uses.values()]
  return {
    ...newEventValues(parts),
    goneShards: arrayText(gone.shards),
    goneRooms: arrayText(gone.rooms),
    goneEvents: arrayText(gone.events),
    addedShards: arrayText(added.shards),
    addedRooms: arrayText(added.rooms),
    addedEvents: arrayText(added.events),
    useShards: arrayText(counts.map(({ shard }) => shard)),
    useNids: arrayText(counts.map((use) => use.snapshot_nid)),
    useCounts: arrayText(counts.map(({ refs }) => refs)),
    inboxShards: arrayText(inbox.shards),
    inboxIds: arrayText(inbox.ids),
  }
}

function newEventValues(parts: readonly RoomPart[]) {
  const numbers: number[] = []
  const starts: number[] = []
  const references: number[] = []
  const texts: string[] = []
  const internals: string[] = []
  const ids: Uint8Array[] = []
  let idFrom = 1
  for (const { shard, roomNid, events } of parts)
    for (const event of events) {
      const { eventId, json, internal } = event
      starts.push(numbers.length)
      const from = references.length + 1
      for (const nid of event.prevNids) references.push(nid)
      const middle = references.length
      for (const nid of event.authNids) references.push(nid)
      // In the order of the statement above.
      numbers.push(
        shard,
        roomNid,
        event.eventNid,
        event.typeNid,
        event.stateKeyNid ?? -1,
        event.senderNid,
        event.depth,
        event.originServerTs,
        event.chain ?? -1,
        event.chainIndex ?? 0,
        event.position ?? -1,
        event.ingest ?? -1,
        event.flags,
        event.pushFlags,
        event.snapshotNid ?? -1,
        event.destinationSet ?? -1,
        idFrom,
        eventId.length,
        event.claimed ? 1 : 0,
        from,
        middle,
        references.length,
      )
      ids.push(eventId)
      idFrom += eventId.length
      texts.push(json)
      internals.push(internal ?? '')
    }
  return {
    numbers: arrayText(numbers),
    starts: arrayText(starts),
    references: arrayText(references),
    ids: Buffer.concat(ids),
    texts: jsonTexts(texts),
    internals: jsonTexts(internals),
  }
}

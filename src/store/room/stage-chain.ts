import type { Sql } from '#store/db.ts'
import type { NewEvent } from './batch.ts'
import { arrayText, jsonTexts, Statement } from './statement.ts'

/** Messages at the end of one chain of a room, all in one state, that nobody can read yet. */
export type ChainPiece = {
  shard: number
  roomNid: number
  chain: number
  snapshotNid: number
  events: readonly NewEvent[]
}

/**
 * Writes what a commit writes of such events (`commit-events.ts`), and tells once what they have in common:
 * a number for each event and column costs PostgreSQL and us more than all else that is told of a message.
 */
const staged = new Statement(
  `with ids as (
    insert into event_ids (event_id, shard, event_nid)
    select substring(ids from n[o + 7]::integer for n[o + 8]::integer), $shard, n[o + 1]
    from (select $numbers as n, $ids as ids) v, unnest($starts) o
  ), texts as (
    insert into event_json (shard, event_nid, json)
    select $shard, n[o + 1], json
    from (select $numbers as n) v, rows from (
      unnest($starts), string_to_table($texts, E'\\x1e')
    ) as t (o, json)
  ), events as (
    insert into events (
      shard, room_nid, event_nid, type_nid, sender_nid, depth, origin_server_ts, chain, chain_index,
      flags, push_flags, snapshot_nid, event_id, prev_nids, auth_nids)
    select
      $shard, $room, n[o + 1], n[o + 2]::integer, n[o + 3], n[o + 4], n[o + 5], $chain,
      n[o + 6]::integer, 0, 0, $snapshot,
      substring(ids from n[o + 7]::integer for n[o + 8]::integer),
      refs[n[o + 9] : n[o + 10]], refs[n[o + 10] + 1 : n[o + 11]]
    from (select $numbers as n, $ids as ids, $references as refs) v, unnest($starts) o
  ), counted as (
    update snapshots set refs = refs + cardinality($starts)
    where shard = $shard and snapshot_nid = $snapshot
    returning 1
  )
  select laneway_require(exists (select from counted), 'LW003',
    'A snapshot that is built on is not there')`,
  {
    shard: 'smallint',
    room: 'bigint',
    chain: 'bigint',
    snapshot: 'bigint',
    numbers: 'bigint[]',
    starts: 'integer[]',
    references: 'bigint[]',
    ids: 'bytea',
    texts: 'text',
  },
)

export function stageChain(sql: Sql, piece: ChainPiece): Promise<unknown> {
  const numbers: number[] = []
  const starts: number[] = []
  const references: number[] = []
  let idFrom = 1
  for (const event of piece.events) {
    starts.push(numbers.length)
    const from = references.length + 1
    for (const nid of event.prevNids) references.push(nid)
    const middle = references.length
    for (const nid of event.authNids) references.push(nid)
    // In the order of the statement above.
    numbers.push(
      event.eventNid,
      event.typeNid,
      event.senderNid,
      event.depth,
      event.originServerTs,
      event.chainIndex!,
      idFrom,
      event.eventId.length,
      from,
      middle,
      references.length,
    )
    idFrom += event.eventId.length
  }
  return staged.run(sql, {
    shard: piece.shard,
    room: piece.roomNid,
    chain: piece.chain,
    snapshot: piece.snapshotNid,
    numbers: arrayText(numbers),
    starts: arrayText(starts),
    references: arrayText(references),
    ids: Buffer.concat(piece.events.map(({ eventId }) => eventId)),
    texts: jsonTexts(piece.events.map(({ json }) => json)),
  })
}

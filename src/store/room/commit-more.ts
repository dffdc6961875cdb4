import type { RoomPart } from './batch.ts'
import * as fold from './fold.ts'
import { json } from './statement.ts'

/** What commits of local sends write beside the events, as parts of one statement. Rows come as JSON. */
export const localTypes = { txns: json, mentions: json } as const

export const localParts = `
  txns as (
    insert into local_txns (shard, user_id, device_id, path, txn_id, event_nid, sent_at)
    select * from json_to_recordset($txns) as t (
      shard smallint, user_id text, device_id text, path text, txn_id text, event_nid bigint,
      sent_at bigint)
  ), mentions as (
    insert into mentions (shard, room_nid, position, user_nid)
    select * from json_to_recordset($mentions)
      as t (shard smallint, room_nid bigint, position bigint, user_nid bigint)
    on conflict do nothing
  )`

export const isLocal = ({ txns, mentions }: RoomPart): boolean => txns.length + mentions.length > 0

export const localRows = (parts: readonly RoomPart[]) => ({
  txns: txnRows(parts),
  mentions: mentionRows(parts),
})

/** Where the room's graph is not a plain line: gaps, forks, refusals, redactions. */
export const edgeTypes = {
  rejections: json,
  arrived: json,
  missing: json,
  spans: json,
  redactions: json,
} as const

export const edgeParts = `
  reasons as (
    insert into rejections (shard, event_nid, reason)
    select * from json_to_recordset($rejections)
      as t (shard smallint, event_nid bigint, reason text)
  ), arrived as (
    delete from missing_prevs m
    using json_to_recordset($arrived) as t (shard smallint, room_nid bigint, event_id bytea)
    where m.shard = t.shard and m.room_nid = t.room_nid and m.event_id = t.event_id
  ), missing as (
    insert into missing_prevs (shard, room_nid, event_id, child_nid)
    select * from json_to_recordset($missing)
      as t (shard smallint, room_nid bigint, event_id bytea, child_nid bigint)
    on conflict do nothing
  ), spans as (
    insert into spans
      (shard, room_nid, order_key, chain, from_index, to_index, gap, hidden, after_import)
    select * from json_to_recordset($spans) as t (
      shard smallint, room_nid bigint, order_key bytea, chain bigint, from_index integer,
      to_index integer, gap text[], hidden boolean, after_import boolean)
    on conflict (shard, room_nid, order_key) do update set
      chain = excluded.chain, from_index = excluded.from_index, to_index = excluded.to_index,
      gap = excluded.gap, hidden = excluded.hidden, after_import = excluded.after_import
  ), redactions as (
    insert into redactions (shard, room_nid, target_id, redaction_nid, applied)
    select * from json_to_recordset($redactions) as t (
      shard smallint, room_nid bigint, target_id bytea, redaction_nid bigint, applied boolean)
    on conflict (shard, room_nid, target_id, redaction_nid)
      do update set applied = excluded.applied
  )`

export const hasEdges = ({ events, missing, spans, redactions }: RoomPart): boolean =>
  missing.added.length + missing.arrived.length + spans.length + redactions.length > 0 ||
  events.some(({ rejection }) => rejection !== null)

export function edgeRows(parts: readonly RoomPart[]) {
  const { arrived, added } = fold.missingRows(parts)
  return {
    rejections: rejectionRows(parts),
    arrived,
    missing: added,
    spans: fold.spanRows(parts),
    redactions: fold.redactionRows(parts),
  }
}

const rejectionRows = (parts: readonly RoomPart[]) =>
  parts.flatMap(({ shard, events }) =>
    events
      .filter(({ rejection }) => rejection !== null)
      .map(({ eventNid, rejection }) => ({ shard, event_nid: eventNid, reason: rejection })),
  )

const mentionRows = (parts: readonly RoomPart[]) =>
  parts.flatMap(({ shard, roomNid, mentions }) =>
    mentions.map(({ position, userNid }) => ({
      shard,
      room_nid: roomNid,
      position,
      user_nid: userNid,
    })),
  )

const txnRows = (parts: readonly RoomPart[]) =>
  parts.flatMap(({ shard, txns }) =>
    txns.map((txn) => ({
      shard,
      user_id: txn.userId,
      device_id: txn.deviceId,
      path: txn.path,
      txn_id: txn.txnId,
      event_nid: txn.eventNid,
      sent_at: txn.sentAt,
    })),
  )

import type { Sql } from '#store/db.ts'

/** `undoing`: it is to be undone, and what it brought may still be there. */
export const sessionStates = ['open', 'committed', 'aborted', 'undoing', 'undone'] as const
export type SessionState = (typeof sessionStates)[number]

/** An import, as its owner keeps it and as its importer is told. */
export type SessionRow = {
  shard: number
  session_nid: number
  room_nid: number
  chain: number
  base_snapshot: number
  session_id: string
  room_id: string
  source: string
  owner: string
  mode: string
  wish: string
  state: SessionState
  answer: string | null
  anchors: number[]
  tip_nid: number | null
  next_index: number
  depth: number | null
  dense: boolean
  next_batch: number
  accepted: number
  duplicates: number
  failed: number
  first_ts: number | null
  last_ts: number | null
  created_at: number
  /** Ended, and what it leaves behind is not tidied up yet. */
  untidied: boolean
  /** Undone, and other servers are to be told so of what lies behind this index of its chain. */
  take_back_after: number | null
}

export type NewSession = Pick<
  SessionRow,
  | 'shard'
  | 'session_nid'
  | 'room_nid'
  | 'chain'
  | 'base_snapshot'
  | 'session_id'
  | 'room_id'
  | 'source'
  | 'owner'
  | 'mode'
  | 'wish'
  | 'anchors'
  | 'created_at'
>

export const add = (sql: Sql, row: NewSession) => sql`
  insert into import_sessions (shard, session_nid, room_nid, chain, base_snapshot, session_id, room_id,
    source, owner, mode, wish, anchors, created_at)
  values (${row.shard}, ${row.session_nid}, ${row.room_nid}, ${row.chain}, ${row.base_snapshot},
    ${row.session_id}, ${row.room_id}, ${row.source}, ${row.owner}, ${row.mode}, ${row.wish},
    ${row.anchors}::bigint[], ${row.created_at})`

export async function byId(sql: Sql, sessionId: string): Promise<SessionRow | undefined> {
  const [row] = await sql<SessionRow[]>`
    select * from import_sessions where session_id = ${sessionId}`
  return row
}

/** The session of a room and source to which records may still be added. */
export async function openOf(
  sql: Sql,
  shard: number,
  roomNid: number,
  source: string,
): Promise<SessionRow | undefined> {
  const [row] = await sql<SessionRow[]>`
    select * from import_sessions
    where shard = ${shard} and room_nid = ${roomNid} and source = ${source} and state = 'open'`
  return row
}

export type Wanted = {
  roomId: string | undefined
  source: string | undefined
  owner: string | undefined
  limit: number
}

/** Sessions, the newest first. */
export const list = (sql: Sql, { roomId, source, owner, limit }: Wanted) =>
  sql<SessionRow[]>`
    select * from import_sessions
    where ${roomId === undefined ? sql`true` : sql`room_id = ${roomId}`}
      and ${source === undefined ? sql`true` : sql`source = ${source}`}
      and ${owner === undefined ? sql`true` : sql`owner = ${owner}`}
    order by created_at desc, session_nid desc
    limit ${limit}`

/** How many records wait for what they relate to, by session. */
export async function waitingIn(sql: Sql, keys: readonly Key[]): Promise<Map<number, number>> {
  const rows = await sql<{ session_nid: number; waiting: number }[]>`
    select w.session_nid, count(*)::integer as waiting
    from unnest(
      ${keys.map(({ shard }) => shard)}::smallint[],
      ${keys.map(({ session_nid: nid }) => nid)}::bigint[]
    ) k (shard, session_nid)
    join import_waiting w on w.shard = k.shard and w.session_nid = k.session_nid
    group by w.session_nid`
  return new Map(rows.map(({ session_nid: nid, waiting }) => [nid, waiting]))
}

export type Key = Pick<SessionRow, 'shard' | 'session_nid'>

/** Where its chain ends now. */
export const moveTip = (
  sql: Sql,
  { shard, session_nid: nid }: Key,
  tip: { nid: number | null; nextIndex: number },
) => sql`
  update import_sessions set tip_nid = ${tip.nid}, next_index = ${tip.nextIndex}
  where shard = ${shard} and session_nid = ${nid}`

export const setDepth = (
  sql: Sql,
  { shard, session_nid: nid }: Key,
  { depth, dense }: { depth: number; dense: boolean },
) => sql`
  update import_sessions set depth = ${depth}, dense = ${dense}
  where shard = ${shard} and session_nid = ${nid}`

export const setState = (
  sql: Sql,
  { shard, session_nid: nid }: Key,
  state: SessionState,
  answer: string | null,
) => sql`
  update import_sessions set state = ${state}, answer = coalesce(${answer}, answer)
  where shard = ${shard} and session_nid = ${nid}`

/** Notes that a session counts no more, with what is to be done after that. */
export const end = (
  sql: Sql,
  { shard, session_nid: nid }: Key,
  { state, takeBackAfter }: { state: 'aborted' | 'undone'; takeBackAfter: number | null },
) => sql`
  update import_sessions
  set state = ${state}, untidied = true, take_back_after = ${takeBackAfter}::integer
  where shard = ${shard} and session_nid = ${nid}`

export const setTidied = (sql: Sql, { shard, session_nid: nid }: Key) => sql`
  update import_sessions set untidied = false where shard = ${shard} and session_nid = ${nid}`

/** How far other servers were told; null: of all. */
export const setTakenBack = (
  sql: Sql,
  { shard, session_nid: nid }: Key,
  after: number | null,
) => sql`
  update import_sessions set take_back_after = ${after}::integer
  where shard = ${shard} and session_nid = ${nid}`

/** Sessions of some shards that are to be tidied up, or undone, behind one of them. */
export const untidied = (sql: Sql, shards: readonly number[], after: Key, limit: number) =>
  ended(sql, { shards, after, limit }, sql`(untidied or state = 'undoing')`)

/** Those of a room that were aborted, and of which something is left. */
export const abortedIn = (sql: Sql, shard: number, roomNid: number) =>
  sql<SessionRow[]>`
    select * from import_sessions
    where shard = ${shard} and room_nid = ${roomNid} and untidied and state = 'aborted'`

/** The same of those that other servers are to be told of. */
export const toTakeBack = (sql: Sql, shards: readonly number[], after: Key, limit: number) =>
  ended(sql, { shards, after, limit }, sql`take_back_after is not null`)

const ended = (
  sql: Sql,
  { shards, after, limit }: { shards: readonly number[]; after: Key; limit: number },
  which: ReturnType<Sql>,
) => sql<SessionRow[]>`
  select * from import_sessions
  where (untidied or take_back_after is not null or state = 'undoing') and ${which}
    and shard = any(${shards as number[]}::smallint[])
    and (shard, session_nid) > (${after.shard}::smallint, ${after.session_nid}::bigint)
  order by shard, session_nid
  limit ${limit}`

export type BatchCounts = {
  accepted: number
  duplicates: number
  failed: number
  firstTs: number | null
  lastTs: number | null
}

/**
 * Notes what a batch is answered, now and for ever, and counts it: once, even if what an owner before has sent
 * arrives only now.
 */
export const finishBatch = (
  sql: Sql,
  { shard, session_nid: nid }: Key,
  batch: number,
  answer: string,
  counts: BatchCounts,
) => sql`
  with noted as (
    insert into import_batches (shard, session_nid, batch, answer)
    values (${shard}, ${nid}, ${batch}, ${answer})
    on conflict do nothing
    returning batch
  )
  update import_sessions set next_batch = ${batch + 1},
    accepted = accepted + ${counts.accepted}, duplicates = duplicates + ${counts.duplicates},
    failed = failed + ${counts.failed},
    first_ts = least(first_ts, ${counts.firstTs}::bigint),
    last_ts = greatest(last_ts, ${counts.lastTs}::bigint)
  where shard = ${shard} and session_nid = ${nid} and exists (select from noted)`

export async function answerOf(
  sql: Sql,
  { shard, session_nid: nid }: Key,
  batch: number,
): Promise<string | undefined> {
  const [row] = await sql<{ answer: string }[]>`
    select answer from import_batches
    where shard = ${shard} and session_nid = ${nid} and batch = ${batch}`
  return row?.answer
}

export type PersonRow = {
  user_id: string
  displayname: string | null
  avatar_url: string | null
  stays: boolean
}

export const people = (sql: Sql, { shard, session_nid: nid }: Key) =>
  sql<PersonRow[]>`
    select user_id, displayname, avatar_url, stays from import_people
    where shard = ${shard} and session_nid = ${nid}`

/** The first word on a person counts. */
export const addPeople = (
  sql: Sql,
  { shard, session_nid: nid }: Key,
  rows: readonly PersonRow[],
) => sql`
  insert into import_people (shard, session_nid, user_id, displayname, avatar_url, stays)
  select ${shard}, ${nid}, p.user_id, p.displayname, p.avatar_url, p.stays
  from json_to_recordset(${JSON.stringify(rows)}::text::json)
    as p (user_id text, displayname text, avatar_url text, stays boolean)
  on conflict do nothing`

export const forgetPeople = (sql: Sql, { shard, session_nid: nid }: Key) => sql`
  delete from import_people where shard = ${shard} and session_nid = ${nid}`

import { type Sql } from '#store/db.ts'
import { type RelatedWanted, isRelated, isUndone } from './related.ts'

export type SearchedRoom = {
  shard: number
  room_nid: number
  room_id: string
  version: string
  membership: string
  event_nid: number | null
  position: number
}

/** The rooms that a user is or was in and that are not encrypted, the latest first. */
export const rooms = (sql: Sql, userId: string, limit: number) =>
  sql<SearchedRoom[]>`
    select r.shard, r.room_nid, r.room_id, r.version, m.membership, m.event_nid, m.position
    from user_ids u
    join memberships m on m.user_nid = u.user_nid and m.membership in ('join', 'leave', 'ban')
    join rooms r on r.shard = m.shard and r.room_nid = m.room_nid and r.generation = m.generation
    where u.user_id = ${userId} and not exists (
      select from event_types t
      join current_state c on c.type_nid = t.type_nid
      where t.type = 'm.room.encryption' and c.shard = r.shard and c.room_nid = r.room_nid
        and c.generation = r.generation)
    order by m.membership = 'join' desc, m.position desc
    limit ${limit}`

export type Search = {
  rooms: readonly { shard: number; roomNid: number; until: number }[]
  term: string
  types: readonly string[]
  senders: readonly string[] | undefined
  notSenders: readonly string[]
  related: RelatedWanted | undefined
  byRank: boolean
  /** The last result that was told. */
  after: { value: number; nid: number } | undefined
  limit: number
}

export type FoundRow = {
  shard: number
  event_nid: number
  room_nid: number
  rank: number
  value: number
  total: number
}

type NoRow = { total: number; event_nid: null }

/** Matches that are put in order; of more only the latest are looked at. */
const maxMatches = 10_000

/** A page of the events with all words of a term in some rooms; a row of nothing if it is empty. */
export const find = (sql: Sql, search: Search) =>
  sql<(FoundRow | NoRow)[]>`
    with room as (
      select * from unnest(
        ${search.rooms.map((each) => each.shard)}::smallint[],
        ${search.rooms.map((each) => each.roomNid)}::bigint[],
        ${search.rooms.map((each) => each.until)}::bigint[]
      ) w (shard, room_nid, until)
    ), wanted as materialized (
      select plainto_tsquery('simple', ${search.term}) as words
    ), match as (
      select w.shard, w.event_nid, w.room_nid, w.origin_server_ts, w.words
      from search_words w
      join room r on r.shard = w.shard and r.room_nid = w.room_nid
      join events e on e.shard = w.shard and e.event_nid = w.event_nid
      where numnode((select words from wanted)) > 0
        and w.words @@ ((select words from wanted) && ${roomWords(search)}::tsquery)
        and coalesce(e.position, 0) <= r.until and not ${isUndone(sql, sql`e`)}
        and w.type_nid in (
          select type_nid from event_types where type = any(${search.types as string[]}::text[]))
        ${
          search.senders
            ? sql`and w.sender_nid in (
                select user_nid from user_ids
                where user_id = any(${search.senders as string[]}::text[]))`
            : sql``
        }
        and w.sender_nid not in (
          select user_nid from user_ids
          where user_id = any(${search.notSenders as string[]}::text[]))
        ${
          search.related
            ? sql`and ${isRelated(sql, search.related, {
                shard: sql`e.shard`,
                room: sql`e.room_nid`,
                eventId: sql`e.event_id`,
                until: sql`r.until`,
              })}`
            : sql``
        }
      order by w.origin_server_ts desc, w.event_nid desc
      limit ${maxMatches}
    ), ranked as (
      select m.shard, m.event_nid, m.room_nid,
        ts_rank(m.words, (select words from wanted))::float8 as rank, m.origin_server_ts
      from match m
    ), valued as (
      select shard, event_nid, room_nid, rank,
        ${search.byRank ? sql`rank` : sql`origin_server_ts::float8`} as value
      from ranked
    ), page as (
      select * from valued
      where ${
        search.after
          ? sql`(value, event_nid) < (${search.after.value}::float8, ${search.after.nid}::bigint)`
          : sql`true`
      }
      order by value desc, event_nid desc
      limit ${search.limit}
    )
    select counted.total, page.*
    from (select count(*)::integer as total from match) counted left join page on true
    order by value desc, event_nid desc`

/** Rooms by the words that name them: no text makes such a word, so that only numbers are in here. */
const roomWords = ({ rooms: list }: Search): string =>
  list.map(({ roomNid }) => `'!${roomNid}'`).join(' | ')

/** The words of a term as they are looked for. */
export async function words(sql: Sql, term: string): Promise<string[]> {
  const [row] = await sql<{ words: string[] }[]>`
    select tsvector_to_array(to_tsvector('simple', ${term})) as words`
  return row!.words
}

export type Neighbour = {
  event_nid: number
  of_nid: number
  older: boolean
}

/** Events next to some others, nearest first, as far as the stretch that each is in goes. */
export const neighbours = (
  sql: Sql,
  of: readonly { shard: number; nid: number }[],
  before: number,
  after: number,
) =>
  sql<Neighbour[]>`
    select n.event_nid, e.event_nid as of_nid, n.older
    from unnest(
      ${of.map((each) => each.shard)}::smallint[], ${of.map((each) => each.nid)}::bigint[]
    ) w (shard, nid)
    join events e on e.shard = w.shard and e.event_nid = w.nid
    join spans s on s.shard = e.shard and s.room_nid = e.room_nid and s.chain = e.chain
      and (s.from_index is null or s.from_index <= e.chain_index)
      and (s.to_index is null or s.to_index >= e.chain_index) and not s.hidden
    cross join lateral (
      (select event_nid, true as older, e.chain_index - chain_index as distance from events
        where shard = e.shard and chain = e.chain and chain_index < e.chain_index
          and (s.from_index is null or chain_index >= s.from_index)
        order by chain_index desc limit ${before})
      union all
      (select event_nid, false, chain_index - e.chain_index from events
        where shard = e.shard and chain = e.chain and chain_index > e.chain_index
          and (s.to_index is null or chain_index <= s.to_index)
        order by chain_index limit ${after})
    ) n
    order by n.distance`

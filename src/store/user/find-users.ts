import type { Sql } from '#store/db.ts'

/** Rooms in which both users are, by ID, after one of them. */
export const mutualRooms = (sql: Sql, one: string, other: string, after: string, limit: number) =>
  sql<{ room_id: string; total: number }[]>`
    with mutual as materialized (
      select r.room_id
      from user_ids a
      join memberships m on m.user_nid = a.user_nid and m.membership = 'join'
      join rooms r on r.shard = m.shard and r.room_nid = m.room_nid
        and r.generation = m.generation and r.kind = 'joined'
      join user_ids b on b.user_id = ${other}
      join memberships n on n.shard = r.shard and n.room_nid = r.room_nid
        and n.generation = r.generation and n.user_nid = b.user_nid and n.membership = 'join'
      where a.user_id = ${one}
    )
    select room_id, (select count(*)::integer from mutual) as total
    from mutual where room_id > ${after} collate "C"
    order by room_id collate "C"
    limit ${limit}`

export type FoundUser = { user_id: string; name: string | null; avatar: string | null }

/** Members of rooms that are looked at for one search. */
const maxMembers = 20_000
/** Users who fit of whom it is looked whether the asker may find them. */
const maxFitting = 500

/** JSON of which PostgreSQL makes no text: with a NUL, or half a character. Such names are passed over. */
const unreadable = String.raw`\\u(0000|d[89a-f])`

/** The pattern of what holds a word. */
const within = (word: string): string => `%${word.replace(/[\\%_]/g, '\\$&')}%`

export type UserSearch = {
  asker: string
  words: readonly string[]
  limit: number
  /** Whether accounts of this server are found by everybody. */
  allAccounts: boolean
}

/**
 * Users whose ID or name holds every word, those first who begin with the first: who shares a room with
 * the one who asks, or is in a published one. Accounts of this server are found by their profiles, and
 * others as such a room knows them.
 */
export const search = (sql: Sql, { asker, words, limit, allAccounts }: UserSearch) =>
  sql<FoundUser[]>`
    with open as materialized (
      select r.shard, r.room_nid, r.generation
      from user_ids me
      join memberships m on m.user_nid = me.user_nid and m.membership = 'join'
      join rooms r on r.shard = m.shard and r.room_nid = m.room_nid and r.generation = m.generation
      where me.user_id = ${asker} and r.kind = 'joined'
      union
      select r.shard, r.room_nid, r.generation
      from published_rooms p join rooms r on r.room_id = p.room_id where r.kind = 'joined'
    ),
    known as (
      select u.user_id,
        case when n.value !~* ${unreadable} then n.value::json #>> '{}' end as name,
        case when a.value !~* ${unreadable} then a.value::json #>> '{}' end as avatar,
        not ${allAccounts} as asks
      from users u
      left join profile_fields n on n.shard = u.shard and n.user_id = u.user_id
        and n.name = 'displayname'
      left join profile_fields a on a.shard = u.shard and a.user_id = u.user_id
        and a.name = 'avatar_url'
      where not u.deactivated and not u.guest
    ),
    members as materialized (
      select distinct on (m.user_nid) m.user_nid, m.shard, m.event_nid
      from (
        select m.user_nid, m.shard, m.event_nid
        from open o
        join memberships m on m.shard = o.shard and m.room_nid = o.room_nid
          and m.generation = o.generation and m.membership = 'join' and m.event_nid is not null
        limit ${maxMembers}
      ) m
    ),
    others as (
      select u.user_id, j.json #>> '{content,displayname}' as name,
        j.json #>> '{content,avatar_url}' as avatar, false as asks
      from members m
      join user_ids u on u.user_nid = m.user_nid
      join (
        select shard, event_nid, case when json !~* ${unreadable} then json::json end as json
        from event_json
      ) j on j.shard = m.shard and j.event_nid = m.event_nid
      where not exists (select from users l where l.user_id = u.user_id)
    ),
    everybody as (
      select *, lower(coalesce(name, '')) as lower_name, lower(substr(user_id, 2)) as lower_id
      from (select * from known union all select * from others) all_users
      where user_id <> ${asker}
        and lower(concat(name, ' ', substr(user_id, 2))) like all(${words.map(within)}::text[])
    ),
    fitting as materialized (
      select user_id, name, avatar, asks,
        case when lower_name = ${words[0]!} or split_part(lower_id, ':', 1) = ${words[0]!} then 0
          when starts_with(lower_name, ${words[0]!}) or starts_with(lower_id, ${words[0]!}) then 1
          else 2 end as rank
      from everybody
      order by rank, name is null, user_id collate "C"
      limit ${maxFitting}
    )
    select user_id, name, avatar from fitting
    where not asks or (
      -- For each of these few: a hash of all members of all rooms could be asked, too, and is large.
      select true from user_ids i
      join memberships m on m.user_nid = i.user_nid and m.membership = 'join'
      where i.user_id = fitting.user_id
        and (m.shard, m.room_nid, m.generation) in (select shard, room_nid, generation from open)
      limit 1
    )
    order by rank, name is null, user_id collate "C"
    limit ${limit}`

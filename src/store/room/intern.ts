import { LRUCache } from 'lru-cache'
import { atMost } from '#core/at-most.ts'
import type { Sql } from '#store/db.ts'
import { byteaText } from './event-id.ts'

/**
 * Texts become numbers, for ever and for all rooms, in short transactions of their own before a
 * commit: a commit that waited for another worker's new user would tie two rooms together. Sorted, so
 * that two that want the same never wait for each other in a ring. Only what is missing is written:
 * the usual case is a look-up, and mostly not even that.
 */
export class Interner {
  readonly #sql: Sql
  readonly #types: Cache
  readonly #stateKeys: Cache
  readonly #users: Cache
  readonly #servers: Cache

  /** `entries` bounds each cache, by number; a text is at most 255 bytes (512 for a state key). */
  constructor(sql: Sql, entries = 50_000) {
    this.#sql = sql
    this.#types = new LRUCache(atMost(Math.min(entries, 10_000)))
    this.#stateKeys = new LRUCache(atMost(entries))
    this.#users = new LRUCache(atMost(entries))
    this.#servers = new LRUCache(atMost(entries))
  }

  /** Everything that events of a batch need, in as few statements as may be; users bring their servers. */
  async intern(wanted: Wanted): Promise<Interned> {
    const types = new Set(wanted.types)
    for (const [type] of wanted.stateKeys ?? []) types.add(type)
    const servers = new Set(wanted.servers)
    const users = new Set(wanted.users)
    const typeNids = await this.#resolve(this.#types, types, insertTypes)
    const stateKeys = await this.#resolve(
      this.#stateKeys,
      new Set(
        (wanted.stateKeys ?? []).map(([type, key]) => stateKeyText(typeNids.get(type)!, key)),
      ),
      insertStateKeys,
    )
    for (const user of users) servers.add(serverOf(user))
    const serverNids = await this.#resolve(this.#servers, servers, insertServers)
    const userNids = await this.#resolve(this.#users, users, (sql, missing) =>
      insertUsers(sql, missing, serverNids),
    )
    const byType = new Map<string, Map<string, number>>()
    for (const [type, key] of wanted.stateKeys ?? []) {
      const nid = stateKeys.get(stateKeyText(typeNids.get(type)!, key))!
      const keys = byType.get(type)
      if (keys) keys.set(key, nid)
      else byType.set(type, new Map([[key, nid]]))
    }
    return new Interned(typeNids, byType, userNids, serverNids)
  }

  async #resolve(
    cache: Cache,
    wanted: ReadonlySet<string>,
    insert: (sql: Sql, missing: string[]) => Promise<Row[]>,
  ): Promise<Map<string, number>> {
    const found = new Map<string, number>()
    const missing: string[] = []
    for (const text of wanted) {
      const nid = cache.get(text)
      if (nid === undefined) missing.push(text)
      else found.set(text, nid)
    }
    if (missing.length === 0) return found
    for (const { text, nid } of await insert(this.#sql, missing.toSorted(byCodeUnit))) {
      found.set(text, nid)
      cache.set(text, nid)
    }
    const lost = missing.find((text) => !found.has(text))
    if (lost !== undefined) throw new Error(`No number was made for ${JSON.stringify(lost)}`)
    return found
  }
}

type Cache = LRUCache<string, number>
type Row = { text: string; nid: number }

export type Wanted = {
  types?: Iterable<string>
  stateKeys?: readonly (readonly [type: string, stateKey: string])[]
  users?: Iterable<string>
  servers?: Iterable<string>
}

/** The numbers of what was asked for; asking for anything else is a bug, and throws. */
export class Interned {
  readonly #types: ReadonlyMap<string, number>
  readonly #stateKeys: ReadonlyMap<string, ReadonlyMap<string, number>>
  readonly #users: ReadonlyMap<string, number>
  readonly #servers: ReadonlyMap<string, number>

  constructor(
    types: ReadonlyMap<string, number>,
    stateKeys: ReadonlyMap<string, ReadonlyMap<string, number>>,
    users: ReadonlyMap<string, number>,
    servers: ReadonlyMap<string, number>,
  ) {
    this.#types = types
    this.#stateKeys = stateKeys
    this.#users = users
    this.#servers = servers
  }

  type(type: string): number {
    return known(this.#types, type)
  }
  stateKey(type: string, stateKey: string): number {
    return this.#stateKeys.get(type)?.get(stateKey) ?? notInterned(`${type} ${stateKey}`)
  }
  user(userId: string): number {
    return known(this.#users, userId)
  }
  server(name: string): number {
    return known(this.#servers, name)
  }
}

const known = (numbers: ReadonlyMap<string, number>, text: string): number =>
  numbers.get(text) ?? notInterned(text)

function notInterned(text: string): never {
  throw new Error(`${JSON.stringify(text)} was not interned`)
}

const byCodeUnit = (a: string, b: string) => (a < b ? -1 : a > b ? 1 : 0)
const stateKeyText = (typeNid: number, stateKey: string) => `${typeNid} ${stateKey}`
export const serverOf = (userId: string): string => userId.slice(userId.indexOf(':') + 1)

// A select first: `on conflict do nothing` burns a number of the sequence for each row that is there.
// Another transaction may insert in between, hence the second select, which sees what it committed.

async function insertTypes(sql: Sql, types: string[]): Promise<Row[]> {
  const select = () =>
    sql<Row[]>`
      select type as text, type_nid as nid from event_types where type = any(${types})`
  return ensure(
    types,
    select,
    (missing) => sql`
    insert into event_types (type)
    select type from unnest(${missing}::text[]) as t (type) order by 1
    on conflict do nothing`,
  )
}

async function insertStateKeys(sql: Sql, texts: string[]): Promise<Row[]> {
  const split = (list: string[]) =>
    list.map((text) => {
      const space = text.indexOf(' ')
      return { type: Number(text.slice(0, space)), key: text.slice(space + 1) }
    })
  const all = split(texts)
  const select = () =>
    sql<Row[]>`
      select k.type_nid || ' ' || k.state_key as text, k.state_key_nid as nid
      from unnest(${all.map(({ type }) => type)}::int[], ${all.map(({ key }) => key)}::text[])
        as t (type_nid, state_key)
      join state_keys k on k.type_nid = t.type_nid and k.state_key = t.state_key collate "C"`
  return ensure(texts, select, (missing) => {
    const rows = split(missing)
    return sql`
      insert into state_keys (type_nid, state_key)
      select * from unnest(${rows.map(({ type }) => type)}::int[], ${rows.map(({ key }) => key)}::text[])
      order by 1, 2
      on conflict do nothing`
  })
}

async function insertServers(sql: Sql, names: string[]): Promise<Row[]> {
  const select = () =>
    sql<Row[]>`select name as text, server_nid as nid from servers where name = any(${names})`
  return ensure(
    names,
    select,
    (missing) => sql`
    insert into servers (name)
    select name from unnest(${missing}::text[]) as t (name) order by 1
    on conflict do nothing`,
  )
}

async function insertUsers(
  sql: Sql,
  users: string[],
  servers: ReadonlyMap<string, number>,
): Promise<Row[]> {
  const select = () =>
    sql<Row[]>`
      select user_id as text, user_nid as nid from user_ids where user_id = any(${users})`
  return ensure(
    users,
    select,
    (missing) => sql`
    insert into user_ids (user_id, server_nid)
    select * from unnest(
      ${missing}::text[], ${missing.map((user) => servers.get(serverOf(user))!)}::int[])
    order by 1
    on conflict do nothing`,
  )
}

async function ensure(
  texts: readonly string[],
  select: () => Promise<Row[]>,
  insert: (missing: string[]) => Promise<unknown>,
): Promise<Row[]> {
  const there = await select()
  if (there.length === texts.length) return there
  const have = new Set(there.map(({ text }) => text))
  await insert(texts.filter((text) => !have.has(text)))
  return select()
}

export type Claim = { eventId: Uint8Array; shard: number; roomId: string }

/**
 * Reserves event IDs of v1 and v2, which peers choose, before the commit that persists the events.
 * Answers those (by index) that the caller may not use: another room has them, or they are events.
 */
export async function claimEventIds(sql: Sql, claims: readonly Claim[]): Promise<Set<number>> {
  if (claims.length === 0) return new Set()
  const rows = claims.map(({ eventId, shard, roomId }, at) => ({
    at,
    event_id: byteaText(eventId),
    shard,
    room_id: roomId,
  }))
  const json = JSON.stringify(rows)
  await sql`
    insert into event_ids (event_id, shard, event_nid, claimed_by)
    select event_id, shard, 0, room_id
    from json_to_recordset(${json}::text::json)
      as t (event_id bytea, shard smallint, room_id text)
    order by event_id, room_id
    on conflict do nothing`
  const refused = await sql<{ at: number }[]>`
    select t.at from json_to_recordset(${json}::text::json)
      as t (at int, event_id bytea, shard smallint, room_id text)
    join event_ids i on i.event_id = t.event_id
    where i.event_nid <> 0 or i.shard <> t.shard or i.claimed_by is distinct from t.room_id`
  return new Set(refused.map(({ at }) => at))
}

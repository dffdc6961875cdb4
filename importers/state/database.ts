import { Database } from 'bun:sqlite'
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { Stop } from '#importers/stop.ts'

const version = 2

/**
 * What a run remembers, beside its plan. `record` is the export, sorted: a run sends it from there, and
 * verify compares with it. Nothing here is the truth about the server; that is the server's session.
 */
const schema = `
  create table meta (name text primary key, value text not null) without rowid, strict;
  create table room (
    number integer primary key,
    id text not null unique,
    json text not null default '{}',
    -- The room that it goes into, once that is known.
    room_id text
  ) strict;
  create table person (
    id text primary key,
    json text not null,
    user_id text unique,
    avatar_url text
  ) without rowid, strict;
  create table rename (
    person text not null, time real not null, name text not null, before text,
    primary key (person, time)
  ) without rowid, strict;
  -- In the order read. 'thread' and 'target' are what is left of relations once they are resolved.
  create table record (
    seq integer primary key,
    room integer not null,
    id text not null,
    kind text not null,
    time real not null,
    tie text not null,
    thread text,
    target text,
    -- 0: to be sent; 1: left out; 2: deleted, until it is known whether something hangs on it.
    state integer not null default 0,
    pinned integer not null default 0,
    -- The session that sent it, once it is committed.
    session integer,
    json text not null
  ) strict;
  create unique index record_id on record (room, id);
  create index record_order on record (room, time, tie, seq);
  create index record_deleted on record (seq) where state = 2;
  create index record_pinned on record (room) where pinned = 1;
  create index record_thread on record (room, thread) where thread is not null;
  create index record_target on record (room, target) where target is not null;
  create index record_threaded on record (seq) where thread is not null;
  create index record_targeted on record (seq) where target is not null;
  -- Who sent how much of what in which room.
  create table tally (
    room integer not null, person text not null, kind text not null,
    count integer not null, first real not null, last real not null,
    primary key (room, person, kind)
  ) without rowid, strict;
  create table problem (
    number integer primary key,
    -- 'read', 'send' or 'dry': those of a stage that is done again go before.
    stage text not null,
    class text not null, reason text not null, done text not null,
    file text not null, line integer, offset integer, room text, id text
  ) strict;
  create unique index problem_once on problem
    (stage, class, file, ifnull(line, -1), ifnull(offset, -1), ifnull(room, ''), ifnull(id, ''), reason);
  create table session (
    number integer primary key,
    room integer not null,
    room_id text not null,
    session_id text not null unique,
    mode text not null,
    -- What it sends: records of the room up to this one, between these times.
    until_seq integer not null, since real not null, until real not null,
    -- How its records were made: the same again is what verify compares with.
    people text not null, moves integer not null, media integer not null,
    state text not null default 'open',
    accepted integer not null default 0
  ) strict;
  -- The last record of each batch, written down before it is sent.
  create table batch (
    session integer not null, n integer not null,
    time real not null, tie text not null, seq integer not null, records integer not null,
    primary key (session, n)
  ) without rowid, strict;
  -- People whom the server was told of in a session.
  create table introduced (
    session integer not null, n integer not null, person text not null,
    primary key (session, person)
  ) without rowid, strict;
  create table media (
    key text primary key, mxc text, type text, size integer, width integer, height integer, gone text
  ) without rowid, strict;
  create table media_hash (hash text primary key, mxc text not null) without rowid, strict;
`

/** The state beside a plan: `plan.toml` has `plan.state/`. */
export function stateFolder(planPath: string): string {
  return `${planPath.replace(/\.toml$/, '')}.state`
}

/** Opens the state in a folder, making it if it is not there; `:memory:` for one that is not kept. */
export function openState(folder: string): Database {
  if (folder !== ':memory:') mkdirSync(folder, { recursive: true })
  const file = folder === ':memory:' ? folder : join(folder, 'state.db')
  const db = new Database(file, { create: true, strict: true })
  db.run('pragma journal_mode = wal')
  // A crash of the machine may lose the last moments, which are read or asked for again.
  db.run('pragma synchronous = normal')
  db.run('pragma busy_timeout = 5000')
  db.run('pragma cache_size = -16000')
  const found = db.query<{ user_version: number }, []>('pragma user_version').get()!.user_version
  if (found === 0) {
    db.transaction(() => {
      db.run(schema)
      db.run(`pragma user_version = ${version}`)
    })()
  } else if (found !== version)
    throw new Stop(
      `${file} is of another version of this program (${found}): go on with that one, or undo with it what it imported and delete the file`,
    )
  return db
}

/** What is remembered by name. */
export class Meta {
  readonly #db: Database

  constructor(db: Database) {
    this.#db = db
  }

  get(name: string): string | undefined {
    return this.#db
      .query<{ value: string }, [string]>('select value from meta where name = ?')
      .get(name)?.value
  }

  set(name: string, value: string): void {
    this.#db
      .query(
        'insert into meta values (?, ?) on conflict (name) do update set value = excluded.value',
      )
      .run(name, value)
  }
}

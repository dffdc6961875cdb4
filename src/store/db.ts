import postgres from 'postgres'

type Types = { int8: number }

/** A pool, or a transaction of it: every store function takes one as its first argument. */
export type Sql = postgres.ISql<Types>

export type Pool = postgres.Sql<Types>

export type PoolOptions = {
  /** Connections at most. */
  max: number
  /** How PostgreSQL names the pool in pg_stat_activity. */
  name?: string
  /** Seconds after which an unused connection is closed; never, if left out. */
  idleTimeout?: number
  /** Seconds before the next try to connect; growing ones unless told. */
  pause?: number
  /** Settings of each session, such as `statement_timeout`. */
  session?: Record<string, string | number | boolean>
}

/**
 * Seconds before the next try to connect. The driver's own pauses grow to twenty, and each connection
 * counts: after a short failover, requests would wait for a minute.
 */
const pauseAfter = (failures: number) =>
  Math.min(0.02 * 2 ** failures, 1) * (0.5 + Math.random() / 2)

/**
 * Without it a transaction of more than 100 statements falls back to a round trip each. Apart,
 * because the driver's types do not know the option.
 */
const pipeline = { max_pipeline: 10_000 }

/**
 * Opens a pool on a `postgres://` URL; nothing is connected before the first query. A unix socket is
 * named as libpq does it: `postgres://user@localhost/database?host=/folder`.
 */
export function openPool(url: string, options: PoolOptions): Pool {
  const { address, host } = splitHost(url)
  const { pause } = options
  return postgres(address, {
    ...(host && { host }),
    max: options.max,
    ...(options.idleTimeout && { idle_timeout: options.idleTimeout }),
    connect_timeout: 10,
    backoff: pause === undefined ? pauseAfter : () => pause,
    ...pipeline,
    onnotice: () => {},
    connection: { application_name: options.name ?? 'laneway', ...options.session },
    // Positions, depths and numbers stay below 2^53; the driver would give them to us as strings.
    types: { int8: { to: 20, from: [20], serialize: String, parse: Number } },
  })
}

/**
 * The `session` of a pool whose every statement looks rows up by an index. Planned while a table was
 * small, one would go on reading all of it for a minute of a flood, until its statistics are new. And
 * a plan is made once, not for each of the first five uses.
 */
export const lookUps = {
  enable_seqscan: 'off',
  enable_hashjoin: 'off',
  enable_mergejoin: 'off',
  plan_cache_mode: 'force_generic_plan',
} as const

/**
 * The `session` of a pool that sends the same short statements again and again: planned once, and not for
 * what each is asked about. Planning took a quarter of the CPU that a /sync costs PostgreSQL. Whole
 * tables are read for administrators alone, whom a plan for all filters serves well enough.
 */
export const planOnce = { plan_cache_mode: 'force_generic_plan', jit: 'off' } as const

/** The driver knows a socket's folder as its `host` option only, and would send the rest as settings. */
function splitHost(url: string): { address: string; host: string | null } {
  const parsed = new URL(url)
  const host = parsed.searchParams.get('host')
  if (host === null) return { address: url, host: null }
  parsed.searchParams.delete('host')
  return { address: parsed.href, host }
}

/** The same server and user, another database. */
export function withDatabase(url: string, database: string): string {
  const parsed = new URL(url)
  parsed.pathname = `/${encodeURIComponent(database)}`
  return parsed.href
}

/**
 * A parameter for `::bytea[]`; the driver takes a bare array of bytes for a single value, and one of
 * booleans too. Arrays of strings and numbers need none of this.
 */
export const byteaArray = (sql: Sql, values: readonly (Uint8Array | null)[]) =>
  sql.array(values as Uint8Array[], 1001)

/** A parameter for `::boolean[]`. */
export const booleanArray = (sql: Sql, values: readonly (boolean | null)[]) =>
  sql.array(values as boolean[], 1000)

const codeOf = (error: unknown): string => {
  const code = error instanceof Error && 'code' in error ? error.code : undefined
  return typeof code === 'string' ? code : ''
}

export const isUniqueViolation = (error: unknown): boolean => codeOf(error) === '23505'

const lostCodes = new Set([
  'CONNECTION_CLOSED',
  'CONNECTION_ENDED',
  'CONNECTION_DESTROYED',
  'CONNECT_TIMEOUT',
  'ECONNREFUSED',
  'ECONNRESET',
  'ECONNABORTED',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'ENOENT',
  'ENOTFOUND',
  'ENOTCONN',
  'EPIPE',
  'ETIMEDOUT',
  // The server goes down, went down, or is not yet up.
  '57P01',
  '57P02',
  '57P03',
  // A failover made this server a standby.
  '25006',
])

/**
 * Whether PostgreSQL went away under a statement. The outcome of a transaction whose commit was on
 * its way is then unknown.
 */
export function isConnectionLost(error: unknown): boolean {
  const code = codeOf(error)
  return lostCodes.has(code) || /^08\w{3}$/.test(code)
}

/** PostgreSQL is there, and not yet ready, or about to end. */
export const isStartingUp = (error: unknown): boolean => codeOf(error) === '57P03'

/** PostgreSQL is there and takes no further connection: what was to be sent on it was not sent. */
export const isConnectionRefused = (error: unknown): boolean =>
  codeOf(error) === '53300' || codeOf(error) === 'EAGAIN'

/** Disk full, memory gone or no connection left: new work is refused, reading may go on. */
export const isOutOfResources = (error: unknown): boolean =>
  /^53\w{3}$/.test(codeOf(error)) || codeOf(error) === 'ENOSPC'

/** What is lacking, in words that help whoever runs the server as well as who uses it. */
export function lackOf(error: unknown): string {
  const code = codeOf(error)
  if (code === '53100' || code === 'ENOSPC')
    return 'The disk of the server is full: nothing new can be stored, what is there can be read'
  if (code === '53300') return 'The database has no connection left'
  return 'The database takes no new work at the moment'
}

/** A text held a NUL character, which PostgreSQL keeps in none; no identifier of Matrix holds one. */
export const holdsNul = (error: unknown): boolean => codeOf(error) === '22021'

/** The transaction lost against another one, and may be tried again as it is. */
export const isConflict = (error: unknown): boolean =>
  codeOf(error) === '40001' || codeOf(error) === '40P01'

import { totalmem } from 'node:os'

const megabyte = 2 ** 20

/** PostgreSQL's settings, as arguments: the files in its data directory stay as initdb made them. */
export function settings(options: {
  socketFolder: string
  maxConnections: number
  durable: boolean
}): string[] {
  const memory = Math.min(totalmem(), process.constrainedMemory() || Infinity)
  const buffers = Math.min(Math.max(memory / 8, 64 * megabyte), 1024 * megabyte)
  const all: Record<string, string | number> = {
    listen_addresses: '',
    unix_socket_directories: options.socketFolder,
    unix_socket_permissions: '0700',
    max_connections: options.maxConnections,
    shared_buffers: inMegabytes(buffers),
    effective_cache_size: inMegabytes(memory / 2),
    work_mem: '8MB',
    maintenance_work_mem: '128MB',
    random_page_cost: 1.1,
    // Our statements are short; compiling them costs more than it saves.
    jit: 'off',
    // One heavy read must not take every core from everybody else.
    max_parallel_workers_per_gather: 0,
    // In the data directory: a killed server leaves nothing elsewhere, and containers have little
    // room in /dev/shm.
    dynamic_shared_memory_type: 'mmap',
    max_wal_size: '2GB',
    // After each checkpoint every page is logged whole once. Event IDs are scattered, so in a large
    // database nearly every event has such a page; pglz takes longer for it than all else for the event.
    wal_compression: 'off',
    checkpoint_timeout: '15min',
    autovacuum_vacuum_scale_factor: 0.05,
    autovacuum_analyze_scale_factor: 0.05,
    timezone: 'UTC',
    log_timezone: 'UTC',
    log_line_prefix: '',
    logging_collector: 'off',
    log_checkpoints: 'off',
    // Failed statements are reported by whoever sent them; here they would show what users wrote.
    log_min_messages: 'log',
    log_min_error_statement: 'panic',
  }
  if (!options.durable)
    Object.assign(all, { fsync: 'off', full_page_writes: 'off', synchronous_commit: 'off' })
  return Object.entries(all).flatMap(([name, value]) => ['-c', `${name}=${value}`])
}

const inMegabytes = (bytes: number) => `${Math.round(bytes / megabyte)}MB`

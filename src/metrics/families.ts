/**
 * What can be measured, by name: of which kind it is, and what it says. `laneway_` stands before each
 * name when it is written; a label `thread` tells the threads apart.
 */
export const families: Readonly<Record<string, readonly [Kind, string]>> = {
  // Every thread
  thread_up: ['gauge', 'Whether the thread is there and answers'],
  calls_waiting: ['gauge', 'Calls from the main thread that the thread has not answered yet'],
  event_loop_lag_seconds: ['histogram', 'How late the event loop is, sampled ten times a second'],
  database_statements_under_way: [
    'gauge',
    'Statements and transactions that are sent, or wait to be',
  ],
  database_statements_failed_total: ['counter', 'Statements and transactions that failed'],
  database_statement_seconds: ['histogram', 'From the call to the answer, waiting included'],
  database_connection_wait_seconds: [
    'histogram',
    'How long transactions waited for a connection of the pool',
  ],
  database_away: ['gauge', 'Whether PostgreSQL cannot be reached'],

  // The process
  process_cpu_seconds_total: ['counter', 'Processor time of the server, without PostgreSQL'],
  process_resident_memory_bytes: ['gauge', 'Memory of the server, without PostgreSQL'],
  process_start_time_seconds: ['gauge', 'When the server was started'],

  // Requests
  http_request_seconds: ['histogram', 'From the request to its answer, long polls included'],
  http_requests_total: ['counter', 'Requests that were answered'],
  http_requests_under_way: ['gauge', 'Requests that are not answered yet'],
  sync_waiting: ['gauge', 'Clients that wait for news in a /sync'],
  queue_length: ['gauge', 'What waits for its turn in the main thread, by the queue'],
  device_messages_not_kept_total: [
    'counter',
    'Messages to devices for which very many wait already',
  ],
  user_changes_waiting: ['gauge', 'Changes of users that are not yet in a commit'],

  // What other servers send
  inbox_events: ['gauge', 'Events of other servers that wait in the database'],
  inbox_oldest_seconds: ['gauge', 'How long the oldest of them waits'],
  intake_transactions_in_hand: ['gauge', 'Transactions of other servers that are being taken in'],
  intake_lag_seconds: ['gauge', 'The lateness of the main thread by which load is shed'],
  intake_state: ['gauge', 'What else is told of the way in: who is slowed down, bytes in hand'],
  transactions_refused_total: ['counter', 'Transactions of other servers that were put off (429)'],

  // Rooms
  events_total: ['counter', 'What became of events, by outcome'],
  persisted_total: ['counter', 'Pieces of work that group commits have made durable'],
  event_verify_seconds: ['histogram', 'Reading an event, its hash and its signatures'],
  event_authorize_seconds: ['histogram', 'The authorization rules for an event'],
  commit_events: ['histogram', 'How much goes into one group commit'],
  commit_seconds: ['histogram', 'How long group commits take'],
  commits_failed_total: ['counter', 'Group commits that failed and were taken apart'],
  commits_retried_total: ['counter', 'Group commits that were tried again'],
  turn_seconds: ['histogram', 'How long one turn of a lane takes'],
  turns_waiting: ['gauge', 'Lanes that could go on and wait for their turn'],
  lanes: ['gauge', 'Lanes in memory'],
  lanes_busy: ['gauge', 'Lanes in which something waits'],
  lane_events: ['gauge', 'What waits in the memory of all lanes'],
  lane_length: ['gauge', 'So much, or less, waits in this share of the lanes that are busy'],
  parked_events: ['gauge', 'Events that lack ancestors or a signature'],
  uncommitted_events: ['gauge', 'Decided and not yet in a commit'],
  uncommitted_bytes: ['gauge', 'Bytes of what is decided and not yet in a commit'],
  joins_under_way: ['gauge', 'Joins through other servers'],
  state_resolutions_total: ['counter', 'State resolutions'],
  state_resolution_seconds_total: ['counter', 'Time that state resolutions took, with their turns'],
  merges_repeated_total: ['counter', 'Merges that the room had overtaken'],
  missing_event_requests_total: ['counter', 'Requests to other servers for missing events'],
  state_fetches_total: ['counter', 'States that were fetched in place of missing events'],
  room_worker_state: ['gauge', 'What else a room worker tells of itself'],

  // Imports of history
  imports: ['gauge', 'Sessions of imports, by their state'],
  import_pause_seconds: ['gauge', 'How long imports rest between two pieces, for people who send'],
  import_paused_seconds_total: ['counter', 'Time that imports rested for them'],
  import_records: ['gauge', 'Records that all sessions were brought, by what became of them'],

  // Other servers
  outbox_destinations: ['gauge', 'Servers for which something waits, by what it waits for'],
  outbox_ephemeral_edus: ['gauge', 'What may be lost and waits for servers: typing and the like'],
  outbox_transactions_total: ['counter', 'Transactions that other servers have taken'],
  destinations_backing_off: ['gauge', 'Servers that failed and are left alone for now'],
  federation_requests_in_flight: ['gauge', 'Requests to other servers'],
  federation_requests_waiting: ['gauge', 'Requests that wait for their turn'],
  federation_requests_servers: ['gauge', 'Servers that are asked, or to be asked'],

  // Application services
  appservice_events_waiting: ['gauge', 'Events that an application service has not got yet'],
  appservice_up: [
    'gauge',
    'Whether it took what it was sent last; or else, whether it is connected',
  ],
  appservice_oldest_seconds: ['gauge', 'How long the oldest that it has not got yet has waited'],
  appservice_failures: ['gauge', 'How often in a row it did not take what it was sent'],
  appservice_failures_total: [
    'counter',
    'What it did not take: transactions that it refused, or did not answer',
  ],
  appservice_transactions_total: ['counter', 'Transactions that it has taken'],
  appservice_events_dropped_total: [
    'counter',
    'Events that it will not get: it was away for too long, or they were skipped',
  ],
  appservice_requests_in_flight: ['gauge', 'Requests to application services'],

  // Push and media
  push_waiting: ['gauge', 'Pushers that have something to tell'],
  push_in_flight: ['gauge', 'Pushers whose gateway is being told'],
  push_gateways_failing: ['gauge', 'Push gateways that failed and are left alone for now'],
  media_work_waiting: ['gauge', 'Thumbnails and previews that the media worker has in hand'],
  media_downloads_in_flight: ['gauge', 'Media of other servers under way'],
  media_downloads_waiting: ['gauge', 'Media of other servers that waits for its turn'],
}

export type Kind = 'counter' | 'gauge' | 'histogram'

/** A bench as the runner knows it: the file of this name, and what `all` does with it. */
export type BenchEntry = {
  what: string
  /** It has `--against synapse`. */
  against?: true
  /** Options in a short round of all, which should take minutes. */
  brief?: readonly string[]
  /** Left out of short rounds: something else checks the same. */
  long?: true
}

/** In the order in which they are listed and run: what the server is for comes first. */
export const benches: Record<string, BenchEntry> = {
  'federation-throughput': {
    what: 'events of other servers until a client reads them: rate, CPU, bytes, none lost',
    against: true,
  },
  'federation-isolation': {
    what: 'what floods and a long state resolution do to everybody else: latencies beside idle',
    against: true,
    brief: [
      '--only',
      'messages,resolution',
      '--seconds',
      '2',
      '--changes',
      '300',
      '--users',
      '200',
    ],
  },
  'flood-memory': {
    what: 'memory and queues under a long flood of many servers',
    brief: ['--seconds', '8', '--settle', '8'],
  },
  crash: { what: 'killed again and again under a flood: what is lost, what is doubled' },
  'big-room': {
    what: 'a room of 10,000 members: joining it, changing its state, and what others feel of it',
    against: true,
  },
  import: {
    what: 'history of another chat into new and existing rooms: rate, CPU, memory, order',
    against: true,
  },
  'message-bytes': { what: 'what a message takes of the disk, by table and index' },
  'member-flood': { what: 'member events of one room that conflict with each other: rate, CPU' },
  'local-send': {
    what: "a client's message to another client's /sync: latency, CPU",
    against: true,
  },
  'sync-http': {
    what: 'the first and the next /sync of a user in 200 rooms, over HTTP: latency, CPU',
    against: true,
  },
  sync: { what: 'an incremental /sync of a user in 1,000 rooms: latency, statements, CPU' },
  'sync-initial': { what: 'the first /sync of a user in 1,000 rooms: latency, size, CPU' },
  'sliding-sync': { what: 'sliding sync of a user in 1,000 rooms: latency, statements, CPU' },
  'sync-idle': { what: '10,000 long polls: memory for each, idle CPU, what a wake-up costs' },
  'pdu-pipeline': { what: 'an event of another server from its text to its commit: rate, CPU' },
  'group-commit': { what: 'the same in the store alone: the inbox, and the commit of a batch' },
  'core-event': { what: 'parsing, hashing, signing and checking one event' },
  'state-res': { what: 'merging two branches of a room of 10,000 members' },
  'auth-graph': { what: 'questions to the auth chains of a room of 50,000 members' },
  'state-bytes': { what: 'what a change of state costs in a room of 50,000 members' },
  'keys-query': { what: 'keys uploaded, queried and claimed: rate, statements, CPU' },
  requests: { what: 'an HTTP request by itself: rate, latency, CPU' },
  'quick-start': { what: 'from a clean clone to the first message', long: true },
}

import type { Sample } from '#engine/worker/measured.ts'
import type { FederationCalls, OutgoingAnswer } from '#engine/worker/protocol.ts'
import type { LogOptions } from '#src/log.ts'

/** What the operator decides of federation; all of it may cross to another thread. */
export type FederationOptions = {
  serverName: string
  staticDestinations: Readonly<Record<string, string>>
  /** PEM texts. */
  extraAuthorities: readonly string[]
  blockedRanges: readonly string[]
  allowedRanges: readonly string[]
  notaries: readonly string[]
  /** Which addresses push gateways may have. */
  gateways: { blocked: readonly string[]; allowed: readonly string[] }
  /** The longest that a transaction may take, and the longest wait for a server's key. */
  requestTimeoutMs: number
  retryMinMs: number
  retryMaxMs: number
  /** Requests in flight at once; below what the runtime allows (BUN_CONFIG_MAX_HTTP_REQUESTS). */
  maxInFlight: number
}

/** Media of another server that is to be had, as a file. */
export type Download = {
  destination: string
  mediaId: string
  /** The path of the file that it is written to. */
  file: string
  maxBytes: number
  /** How long the other server may wait for an upload that is under way there. */
  waitMs: number
  /** How long the transfer may take. */
  transferMs: number
}

/** What came, and is on disk: synchronised, in a file that whoever asked has to see to. */
export type Downloaded = {
  bytes: number
  /** In hexadecimal digits. */
  sha256: string
  /** As the other server said, of the media itself. */
  contentType: string | undefined
  disposition: string | undefined
}

/** One request to a push gateway. */
export type GatewayRequest = { url: string; body: string; deadlineMs: number; maxBytes: number }

/** One request to an application service. */
export type AppserviceRequest = {
  method: 'GET' | 'POST' | 'PUT'
  url: string
  /** What we show it. */
  token: string
  /** JSON text. */
  body?: string
  /** It has not answered lately. */
  doubtful: boolean
  deadlineMs: number
  maxBytes: number
}

/** What the federation worker needs to begin with. */
export type FederationWorkerStart = {
  databaseUrl: string
  connections: number
  /** Milliseconds that statements wait for a database that went away; they do not, if left out. */
  waitMs?: number
  options: FederationOptions
  log: LogOptions
}

/** What main says to the federation worker beside asking other servers. */
export type FederationWorkerCalls = FederationCalls & {
  /** The first call: what waited when the last worker ended is sent. */
  start: (start: FederationWorkerStart) => null
  /** Fetches media to a file: the bytes do not cross threads. */
  download: (download: Download) => Downloaded
  /** Asks a push gateway, which is no Matrix server: nothing is signed. */
  askGateway: (request: GatewayRequest) => OutgoingAnswer
  /** Asks an application service. */
  askAppservice: (request: AppserviceRequest) => OutgoingAnswer
  /** The last: begins nothing more. */
  stop: () => null
  /** Counters and gauges, by name. */
  counters: () => { [name: string]: number }
  /** What it has measured. */
  measure: () => Sample[]
}

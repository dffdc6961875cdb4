import type { Certificates } from '#test/certificates.ts'

/** What a bench and its origins, a process of their own, say to each other. */

export type OriginsOptions = {
  /** The servers' addresses are 127.NET.x.y: each set of origins has a net of its own. */
  net: number
  count: number
  port: number
  certificates: Certificates
  /** Whom they send to. */
  target: { serverName: string; federationUrl: string }
}

export type RoomsWish = {
  count: number
  version: string
  /** How many of the origins speak in each room. */
  speakers: number
  /** The first of the origins that own and speak in them; default 0. */
  from?: number
}

/** A room of the origins; `via` is a server that lets others join. */
export type MadeRoom = { roomId: string; via: string }

/** People and other state that a room is to have before anybody joins it from elsewhere. */
export type FillWish = { roomId: string; members: number; states: number }

export type TrafficKind = 'messages' | 'members'

export type TrafficWish = {
  rooms: readonly string[]
  /** `members`: everybody joins, or changes their name, and what the speakers' branches say differs. */
  kind: TrafficKind
  /** Valid and wrong ones together. */
  events: number
  /** PDUs of a transaction. */
  txn: number
  /** Shares of all events: changes of other state, joins, and such that are wrongly signed. */
  state: number
  joins: number
  wrong: number
}

/** Events that are signed and wait to be sent; valid ones by room, in no order that means anything. */
export type Traffic = {
  id: number
  transactions: number
  valid: Record<string, string[]>
  wrong: string[]
}

export type SendWish = {
  traffic: number
  /** PDUs per second of all origins together; left out, as fast as each is answered. */
  perSecond?: number
}

/** What became of transactions. */
export type Sent = {
  seconds: number
  transactions: number
  /** PDUs that were answered with 200. */
  answered: number
  /** Of them those that the answer refuses, by reason. */
  refused: Record<string, number>
  /** Answers of 429, after which the same transaction was sent again. */
  limited: number
  /** Requests that failed otherwise, after which too. */
  failed: number
  /** How long answers of 200 took, in ms, sorted. */
  latencies: number[]
  /** Whether it was halted before its end. */
  halted: boolean
}

/** A flood that is made as it goes: each event cites what its origin knows to have arrived. */
export type FloodWish = {
  rooms: readonly string[]
  txn: number
  /** Shares of all events. */
  joins: number
  wrong: number
  /** PDUs per second of all origins together; left out, as fast as each is answered. */
  perSecond?: number
}

export type TicksWish = { rooms: readonly string[]; seconds: number; everyMs: number }

/** An event that was due at some ms of the epoch, and what it cost to have it answered. */
export type Tick = { roomId: string; eventId: string; due: number; answered: number }

/** A room whose branches are long to resolve. */
export type HeavyWish = { version: string; users: number; changes: number }

export type OriginCalls = {
  rooms: (wish: RoomsWish) => MadeRoom[]
  /** How many state events the room has then. */
  fill: (wish: FillWish) => number
  make: (wish: TrafficWish) => Traffic
  send: (wish: SendWish) => Sent
  /** Ends what is being sent, when the transactions in flight are answered. */
  halt: () => void
  /** Floods until it is halted. */
  flood: (wish: FloodWish) => Sent
  /** Valid events of floods that were answered with 200 since this was last asked. */
  acknowledged: () => string[]
  ticks: (wish: TicksWish) => Tick[]
  heavyRoom: (wish: HeavyWish) => MadeRoom
  /** Sends the long branch of a heavy room; its last event. */
  heavyBranch: (roomId: string) => string
  /** Sends the event that makes the target resolve. */
  heavyFork: (roomId: string) => string
  /** How often the target asked for what. */
  asked: () => Record<string, number>
  /** Processor time of this process until now, in µs. */
  spent: () => number
}

export type Call = { id: number; method: keyof OriginCalls; args: unknown[] }
export type Answer = { id: number; value: unknown } | { id: number; error: string }

/** Now, in ms of the epoch with fractions, alike in all processes of a machine. */
export const now = (): number => performance.timeOrigin + performance.now()

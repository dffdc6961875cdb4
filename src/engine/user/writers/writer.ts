import type { MatrixError } from '#core/error.ts'
import type { Sql } from '#store/db.ts'

/** Where a change landed: the position of the user's shard at which readers find it. */
export type UserLanded = { shard: number; position: number }

/** One call, with the position it was given. */
export type Placed<A extends unknown[] = unknown[]> = {
  shard: number
  userId: string
  position: number
  args: A
}

/** Calls of one kind: the user comes first, the answer says where the change landed. */
export type AnyCalls = { [method: string]: (userId: string, ...rest: never[]) => UserLanded }

type Rest<F> = F extends (userId: string, ...rest: infer R) => unknown ? R : never
type More<F> = F extends (userId: string, ...rest: never[]) => infer R
  ? Omit<R, keyof UserLanded>
  : never

/**
 * By place in the list: what went wrong with a single call, or what its answer says beside where it
 * landed. Calls that are not named are done, and answer no more than that.
 */
export type Results<F> = Map<number, MatrixError | More<F>>

/** What the writers of one commit are told, and what they tell. */
export type Commit = {
  /** Whether other servers may know what users call their devices. */
  readonly deviceNames: boolean
  /** Servers that have new EDUs in the outbox; they are told of after the commit. */
  readonly outbox: Set<string>
  /** Messages to devices for which very many wait already. */
  notKept: number
}

export type Writer<F> = {
  /** Writes all calls of one kind with a few statements, in the order of the list. */
  write(sql: Sql, calls: readonly Placed<Rest<F>>[], commit: Commit): Promise<Results<F> | void>
  /** Whether several calls of one user may be in a batch. */
  many: boolean
}

/** How each of some calls is written. */
export type Writers<C> = { readonly [M in keyof C]: Writer<C[M]> }

/** The calls of one kind as its writer gets them. */
export type CallsOf<F> = readonly Placed<Rest<F>>[]

/** The last row of each key: one statement may not write a row twice. */
export function lastOf<T>(rows: readonly T[], key: (row: T) => readonly string[]): T[] {
  return [...new Map(rows.map((row) => [JSON.stringify(key(row)), row])).values()]
}

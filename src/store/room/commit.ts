import type { Pool, Sql } from '#store/db.ts'
import { type Batch, emptyPart, type Lease, type RoomPart, type ShardAdvance } from './batch.ts'
import * as usual from './commit-events.ts'
import * as more from './commit-more.ts'
import * as rare from './commit-rare.ts'
import * as states from './commit-state.ts'
import * as fold from './fold.ts'
import { type ChainPiece, stageChain } from './stage-chain.ts'
import { Statement, arrayText } from './statement.ts'

/**
 * The one way by which decided events become durable. Nearly always it is one statement, which is a
 * transaction by itself: each further one costs PostgreSQL and us as much as several events do. What is
 * rare is sent with it in a transaction, without waiting in between.
 */
export async function commit(pool: Pool, batch: Batch): Promise<void> {
  const writing = new Writing(batch.parts)
  const fence = advanceValues(batch)
  if (!writing.isRare) await writing.run(pool, fence)
  else await pool.begin((sql) => Promise.all([advance.run(sql, fence), ...writing.send(sql)]))
}

/**
 * Writes staged events of an import: no position, no counter, so it needs no turn and may use another
 * connection than the commits of its shard, whose lease it must hold all the same.
 */
export async function stage(
  pool: Pool,
  lease: Lease,
  piece: ChainPiece & Pick<RoomPart, 'redactions'>,
  /** What is written with them, sent without waiting in between. */
  also: (sql: Sql) => readonly PromiseLike<unknown>[],
): Promise<void> {
  const { shard, roomNid, events, redactions } = piece
  const rest = redactions.length > 0 && new Writing([{ ...emptyPart(shard, roomNid), redactions }])
  await pool.begin((sql) =>
    Promise.all([
      guard.run(sql, leaseValues([lease])),
      ...(events.length > 0 ? [stageChain(sql, piece)] : []),
      ...(rest ? rest.send(sql) : []),
      ...also(sql),
    ]),
  )
}

const codeOf = (error: unknown) =>
  error instanceof Error && 'code' in error ? error.code : undefined

/** Another process has taken the shard over: this one may write it no more. */
export const isLeaseLost = (error: unknown): boolean => codeOf(error) === 'LW001'

/** Another batch, or a question for the outcome of this one, came between. */
export const isOvertaken = (error: unknown): boolean => codeOf(error) === 'LW002'

const leaseTypes = { shards: 'smallint[]', epochs: 'bigint[]' } as const
const fenceTypes = {
  ...leaseTypes,
  batch: 'uuid',
  previous: 'uuid[]',
  positions: 'bigint[]',
  counters: 'bigint[]',
  ingests: 'bigint[]',
} as const

/** The lock that keeps a takeover out until this transaction ends. Sorted, as every taker of many. */
const held = `
  held as materialized (
    select l.shard
    from unnest($shards, $epochs) as t (shard, epoch)
    join room_shard_leases l on l.shard = t.shard and l.epoch = t.epoch
    order by l.shard for share of l
  )`
const isHeld = `
  laneway_require((select count(*) from held) = cardinality($shards), 'LW001',
    'The lease of a shard is lost')`

/** The counters; whoever takes a shard over locks them after its lease, and so does this. */
const moved = `
  moved as (
    update room_shards s
    set position = t.position, counter = t.counter, ingest = t.ingest, batch = $batch
    from unnest($shards, $previous, $positions, $counters, $ingests)
      as t (shard, previous, position, counter, ingest)
    where s.shard = t.shard and s.batch is not distinct from t.previous
      and (select count(*) from held) = cardinality($shards)
    returning 1
  )`
const isMoved = `
  laneway_require((select count(*) from moved) = cardinality($shards), 'LW002',
    'Another batch came between')`

const guard = new Statement(`with ${held} select ${isHeld}`, leaseTypes)
const advance = new Statement(`with ${held}, ${moved} select ${isHeld}, ${isMoved}`, fenceTypes)

const byShard = (a: Lease, b: Lease) => a.shard - b.shard

const leaseValues = (leases: readonly Lease[]) => {
  const sorted = leases.toSorted(byShard)
  return {
    shards: arrayText(sorted.map(({ shard }) => shard)),
    epochs: arrayText(sorted.map(({ epoch }) => epoch)),
  }
}

function advanceValues({ id, shards }: Batch) {
  const sorted: ShardAdvance[] = shards.toSorted(byShard)
  return {
    ...leaseValues(sorted),
    batch: id,
    previous: arrayText(sorted.map(({ previous }) => previous ?? 'null')),
    positions: arrayText(sorted.map(({ position }) => position)),
    counters: arrayText(sorted.map(({ counter }) => counter)),
    ingests: arrayText(sorted.map(({ ingest }) => ingest)),
  }
}

const types = {
  ...fenceTypes,
  ...usual.eventTypes,
  ...states.stateTypes,
  ...more.localTypes,
  ...more.edgeTypes,
}
type Name = keyof typeof types
type Values = Partial<Record<Name, string | Uint8Array>>

const optional = {
  inbox: usual.inboxParts,
  state: states.stateParts,
  local: more.localParts,
  edges: more.edgeParts,
}
type Optional = keyof typeof optional

const wides = new Map<string, Statement<Name>>()

/** The statement with these parts, and the fence if it is to stand alone. */
function wide(parts: readonly Optional[], isAlone: boolean): Statement<Name> {
  const key = `${isAlone ? 'alone ' : ''}${parts.join(' ')}`
  let statement = wides.get(key)
  if (!statement) {
    const all = [
      ...(isAlone ? [held, moved] : []),
      usual.eventParts,
      ...parts.map((part) => optional[part]),
    ]
    const checks = [...(isAlone ? [isHeld, isMoved] : []), usual.eventChecks]
    statement = new Statement(`with ${all.join(', ')} select ${checks.join(', ')}`, types)
    wides.set(key, statement)
  }
  return statement
}

/** What parts of a batch write: all but the fence. */
class Writing {
  readonly #values: Values = {}
  readonly #optional: Optional[] = []
  readonly #before: rare.Rare[]
  readonly #after: rare.Rare[]

  constructor(parts: readonly RoomPart[]) {
    const uses = fold.snapshotUses(parts)
    if (parts.some(({ inbox }) => inbox.length > 0)) this.#optional.push('inbox')
    // Most parts are a few messages, and are not gone through for everything else.
    this.#add('state', states.stateRows(parts.filter(states.hasState), uses))
    this.#add('local', more.localRows(parts.filter(more.isLocal)))
    this.#add('edges', more.edgeRows(parts.filter(more.hasEdges)))
    Object.assign(this.#values, usual.eventValues(parts, uses))
    const rareParts = parts.filter(rare.isRare)
    this.#before = rare.before(rareParts)
    this.#after = rare.after(rareParts)
  }

  #add(name: Optional, rows: Readonly<Partial<Record<Name, readonly object[]>>>): void {
    const lists = Object.entries(rows) as [Name, readonly object[]][]
    if (lists.every(([, list]) => list.length === 0)) return
    this.#optional.push(name)
    for (const [key, list] of lists) this.#values[key] = JSON.stringify(list)
  }

  /** Whether one statement does not do. */
  get isRare(): boolean {
    return this.#before.length + this.#after.length > 0
  }

  run(sql: Sql, fence: Values): Promise<unknown> {
    return wide(this.#optional, true).run(sql, { ...this.#values, ...fence })
  }

  /** Every statement after the fence. */
  send(sql: Sql): Promise<unknown>[] {
    return [
      ...rare.send(sql, this.#before),
      wide(this.#optional, false).run(sql, this.#values),
      ...rare.send(sql, this.#after),
    ]
  }
}

import { parseJson } from '#core/canonical-json.ts'
import { isObject, type JsonObject } from '#core/json.ts'
import { relationOf } from '#core/relations.ts'
import { roomVersions } from '#core/room-version.ts'
import { searchTextOf, searchedTypes } from '#core/search.ts'
import type { Log } from '#src/log.ts'
import type { Pool } from '#store/db.ts'
import * as follow from '#store/event-index/follow.ts'
import { ImportIndex } from './import-index.ts'
import { packEventId } from '#store/room/event-id.ts'

export type EventIndexOptions = {
  sql: Pool
  log: Pick<Log, 'warn'>
  /** How often it is looked up what is committed, in case a signal was lost. */
  lookEveryMs?: number
  /** What comes within this time after news is indexed with it; who reads does not wait for that. */
  collectMs?: number
  /** How long a reader waits for the index at most. */
  patienceMs?: number
}

/** Events of all shards that are indexed in one transaction. */
const maxRound = 500

/**
 * Follows the room shards and indexes their events: relations, and words to search for. Nobody's
 * commit waits for it. A reader asks for what is committed by then and waits; the index is then right
 * for everything that was answered before.
 */
export class EventIndex {
  readonly #options: EventIndexOptions
  readonly #cursors = new Map<number, follow.Mark>()
  readonly #told = new Map<number, follow.Mark>()
  /** Shards for which readers wait: they come first. */
  readonly #wanted = new Map<number, number>()
  #following: Promise<void> | undefined
  #timer: ReturnType<typeof setTimeout> | undefined
  #soon: ReturnType<typeof setTimeout> | undefined
  #waiters = new Set<() => void>()
  #stopped = false
  readonly #imports: ImportIndex

  constructor(options: EventIndexOptions) {
    this.#options = options
    this.#imports = new ImportIndex(options.sql, followedTypes, indexOf)
  }

  /** Begins where it ended; what came since is indexed in the background. */
  async start(): Promise<void> {
    await this.#readCursors()
    this.#schedule()
    this.tell()
  }

  async stop(): Promise<void> {
    this.#stopped = true
    clearTimeout(this.#timer)
    clearTimeout(this.#soon)
    for (const wake of this.#waiters) wake()
    await Promise.all([this.#following, this.#imports.stop()])
  }

  /** Something was committed somewhere. */
  tell(): void {
    if (this.#stopped || this.#soon) return
    this.#soon = setTimeout(() => {
      this.#soon = undefined
      this.#look().catch((error: unknown) => this.#warn(error))
    }, this.#options.collectMs ?? 1_000)
    this.#soon.unref()
  }

  /**
   * Resolves when everything that is committed in these shards is indexed, or when waiting for it took
   * too long: then what there is has to do.
   */
  async reach(shards: readonly number[]): Promise<void> {
    const wanted = [...new Set(shards)]
    if (wanted.length === 0 || this.#stopped) return
    if (this.#cursors.size === 0) await this.#readCursors()
    this.#take(await follow.marks(this.#options.sql, wanted))
    const targets = wanted
      .flatMap((shard) => this.#told.get(shard) ?? [])
      .map((each) => ({ ...each }))
    const behind = () => targets.some((target) => isBehind(this.#cursors.get(target.shard), target))
    if (!behind()) return
    for (const shard of wanted) this.#wanted.set(shard, (this.#wanted.get(shard) ?? 0) + 1)
    try {
      const deadline = performance.now() + (this.#options.patienceMs ?? 2_000)
      while (behind() && !this.#stopped) {
        const left = deadline - performance.now()
        if (left <= 0) return
        this.#followSoon()
        await this.#next(left)
      }
    } finally {
      for (const shard of wanted) {
        const count = this.#wanted.get(shard)! - 1
        if (count > 0) this.#wanted.set(shard, count)
        else this.#wanted.delete(shard)
      }
    }
  }

  /** Until a round is over. */
  #next(timeoutMs: number): Promise<void> {
    return new Promise((resolve) => {
      const wake = () => {
        clearTimeout(timer)
        this.#waiters.delete(wake)
        resolve()
      }
      const timer = setTimeout(wake, timeoutMs)
      this.#waiters.add(wake)
    })
  }

  #schedule(): void {
    if (this.#stopped) return
    this.#timer = setTimeout(() => {
      this.#look()
        .catch((error: unknown) => this.#warn(error))
        .finally(() => this.#schedule())
    }, this.#options.lookEveryMs ?? 10_000)
    this.#timer.unref()
  }

  async #look(): Promise<void> {
    if (this.#stopped) return
    this.#take(await follow.marks(this.#options.sql))
    this.#followSoon()
    this.#imports.run((error) => this.#warn(error))
  }

  #take(marks: readonly follow.Mark[]): void {
    for (const { shard, position, ingest } of marks) {
      const told = this.#told.get(shard)
      this.#told.set(shard, {
        shard,
        position: Math.max(position, told?.position ?? 0),
        ingest: Math.max(ingest, told?.ingest ?? 0),
      })
    }
  }

  #followSoon(): void {
    if (this.#stopped || this.#stretches().length === 0) return
    this.#following ??= this.#follow().then(
      () => {
        this.#following = undefined
        this.#followSoon()
      },
      async (error: unknown) => {
        if (!(error instanceof follow.CursorMoved)) this.#warn(error)
        // What was committed of it, the cursors know.
        await this.#readCursors().catch((again: unknown) => this.#warn(again))
        this.#following = undefined
        this.tell()
      },
    )
  }

  async #follow(): Promise<void> {
    for (let stretches = this.#stretches(); stretches.length > 0; stretches = this.#stretches()) {
      if (this.#stopped) return
      const { sql } = this.#options
      const found = await follow.candidates(sql, stretches, followedTypes)
      await follow.write(sql, stretches, indexOf(found))
      for (const { shard, to } of stretches) this.#cursors.set(shard, to)
      for (const wake of this.#waiters) wake()
    }
  }

  /** What is next, of few events at a time; the shards that somebody waits for first. */
  #stretches(): follow.Stretch[] {
    const stretches: follow.Stretch[] = []
    const { size } = this.#wanted
    let room = maxRound
    const shards = [...this.#told.keys()]
    const order = size === 0 ? shards : shards.sort((a, b) => this.#urgency(b) - this.#urgency(a))
    for (const shard of order) {
      const told = this.#told.get(shard)!
      const from = this.#cursors.get(shard)
      if (!from || !isBehind(from, told)) continue
      const position = Math.min(told.position, from.position + room)
      room -= position - from.position
      const ingest = Math.min(told.ingest, from.ingest + room)
      room -= ingest - from.ingest
      stretches.push({ shard, from, to: { shard, position, ingest } })
      if (room <= 0) break
    }
    return stretches
  }

  #urgency(shard: number): number {
    return this.#wanted.has(shard) ? 1 : 0
  }

  async #readCursors(): Promise<void> {
    for (const mark of await follow.cursors(this.#options.sql)) this.#cursors.set(mark.shard, mark)
  }

  #warn(error: unknown): void {
    if (!this.#stopped) this.#options.log.warn({ err: error }, 'events were not indexed')
  }
}

const isBehind = (at: follow.Mark | undefined, target: follow.Mark): boolean =>
  at !== undefined && (at.position < target.position || at.ingest < target.ingest)

const followedTypes = [...searchedTypes, 'm.room.redaction']

/** What of some events is to be written down. */
function indexOf(found: readonly follow.Candidate[]): follow.Indexed {
  const relations: follow.RelationRow[] = []
  const words: follow.WordsRow[] = []
  const redactions: follow.RedactionRow[] = []
  for (const event of found) {
    const pdu = parseJson(event.json)
    const content = isObject(pdu) ? pdu['content'] : undefined
    if (!isObject(pdu) || !isObject(content)) continue
    if (event.type === 'm.room.redaction') {
      const target = redactedBy(event, pdu, content)
      if (target !== undefined) redactions.push({ event, target: packEventId(target) })
    }
    if (event.redacted) continue
    const relation = event.is_state ? undefined : relationRow(event, content)
    if (relation) relations.push(relation)
    const text = searchTextOf(event.type, content)
    if (text !== undefined) words.push({ event, text: storable(text) })
  }
  return { relations, words, redactions }
}

function relationRow(event: follow.Candidate, content: JsonObject): follow.RelationRow | undefined {
  const relation = relationOf(content)
  if (!relation || /\0/.test(relation.relType + relation.eventId)) return undefined
  const { relType, eventId, key } = relation
  return {
    event,
    target: packEventId(eventId),
    relType,
    // The new content of an encrypted event is encrypted too.
    replaces:
      relType === 'm.replace' &&
      (event.type === 'm.room.encrypted' || isObject(content['m.new_content'])),
    key: relType === 'm.annotation' ? storable(key ?? '') : null,
  }
}

function redactedBy(
  { version }: follow.Candidate,
  pdu: JsonObject,
  content: JsonObject,
): string | undefined {
  const target = roomVersions.get(version)?.redactsAtTopLevel ? pdu['redacts'] : content['redacts']
  return typeof target === 'string' ? target : undefined
}

/** PostgreSQL keeps no NUL. */
const storable = (text: string): string => text.replaceAll('\0', ' ')

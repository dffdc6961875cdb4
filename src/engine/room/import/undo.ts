import { emptyPart, type RoomPart, type Span } from '#store/room/batch.ts'
import * as importChains from '#store/room/import-chains.ts'
import { hide } from '#store/room/plan-spans.ts'
import { around, keyText, ofChain, type Place } from '#store/room/span-list.ts'
import { type Answer, Asked } from '#engine/room/asked.ts'
import type { Lane } from '#engine/room/lane.ts'
import type { Parts } from '#engine/room/parts.ts'
import type { Room } from '#engine/room/room.ts'
import { type Task, wait } from '#engine/room/task.ts'
import { type Outcome, RoomReloaded } from '#engine/room/work.ts'

/** Takes an import out of its room's history: one commit, however long its chain. */
export class Undo extends Asked<null> {
  readonly bytes = 2_000
  readonly #chain: number

  constructor(answer: Answer<null>, chain: number) {
    super(answer)
    this.#chain = chain
  }

  *decide(lane: Lane): Task<Outcome | null> {
    const { parts } = lane
    const room = yield* lane.load()
    if (!room) throw new Error(`${lane.roomId} is gone`)
    const { revision } = room
    const redactions = yield* wait(
      importChains.redactionsIn(parts.sql, room.shard, this.#chain, true).then((list) => list),
    )
    const stored = yield* this.#read(parts, room)
    if (room.stale || room.revision !== revision) throw new RoomReloaded()
    const part = emptyPart(room.shard, room.nid)
    const change = { chain: this.#chain, publishedAt: null, hiddenAt: null }
    const { spans, importChain } = hide(this.#own(room, stored), change, 1)
    this.#put(room, part, spans)
    part.importChains.push(importChain)
    for (const { target_id: targetId, redaction_nid: redactionNid } of redactions)
      part.redactions.push({ targetId, redactionNid, applied: false })
    room.revision++
    return { part, positions: 1, ingests: 0 }
  }

  /** The spans of the chain, with what is read before and after each. */
  *#read(parts: Parts, room: Room): Task<Span[]> {
    const { sql } = parts
    const stored = yield* wait(ofChain(sql, room.shard, room.nid, this.#chain))
    const extent = yield* wait(importChains.extentOf(sql, room.shard, this.#chain))
    const places: Place[] = stored.map(({ from }) => ({
      chain: this.#chain,
      index: from ?? extent?.low ?? 0,
    }))
    if (places.length > 0)
      room.spans.merge(yield* wait(around(sql, room.shard, room.nid, places).then((rows) => rows)))
    return stored
  }

  /** Spans of the chain as the room knows them: ahead of the database by what is not committed. */
  #own(room: Room, stored: readonly Span[]): Span[] {
    const found = new Map(stored.map((span) => [keyText(span.orderKey), span]))
    for (const span of room.spans.spans)
      if (span.chain === this.#chain) found.set(keyText(span.orderKey), span)
    return [...found.values()]
  }

  #put(room: Room, part: RoomPart, spans: readonly Span[]): void {
    for (const span of spans) room.spans.put(span)
    part.spans.push(...spans)
    // What is read behind it goes on without a break again.
    for (const span of spans) {
      const next = room.spans.spans[room.spans.spans.indexOf(span) + 1]
      if (!next?.afterImport || room.spans.isImport(next.chain)) continue
      const plain = { ...next, afterImport: false }
      room.spans.put(plain)
      part.spans.push(plain)
    }
  }

  answerFor(): null {
    return null
  }
}

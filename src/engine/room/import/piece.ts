import { buildEvent } from '#core/event/build.ts'
import type { RoomEvent } from '#core/event/pdu.ts'
import type { Errcode } from '#core/error.ts'
import { failed, type FailedRecord, type ImportRecord, recordText } from '#core/import/record.ts'
import { relate, type Related, relatedTo } from '#core/import/relate.ts'
import { emptyPart, type NewEvent, type RoomPart } from '#store/room/batch.ts'
import { packEventId } from '#store/room/event-id.ts'
import type { Interned } from '#store/room/intern.ts'
import type { NewRecord, WaitingRow } from '#store/import/records.ts'
import { hashesOf, type Rights } from '#engine/room/import/rights.ts'
import { type Named, type Staging, tipOf } from '#engine/room/import/staging.ts'
import type { Parts } from '#engine/room/parts.ts'
import { randomEventId } from '#engine/room/local/plan-room.ts'
import type { Known, Room } from '#engine/room/room.ts'
import type { Task } from '#engine/room/task.ts'

/** Events built in one go: a signature costs more than all else. */
const perStep = 8

/** What one transaction writes of an import. */
export type Piece = {
  part: RoomPart
  records: NewRecord[]
  waiting: WaitingRow[]
  settled: number[]
  /** Records that are no longer there: they waited in vain. */
  dropped: string[]
  failed: FailedRecord[]
  degraded: number
}

export type PieceParts = {
  parts: Parts
  room: Room
  staging: Staging
  batch: number
  /** Numbers for events, which the shard has committed to. */
  nids: number[]
  /** Records that are there already, by name. */
  known: ReadonlyMap<string, Named>
  rights: ReadonlyMap<string, Rights>
  numbers: Interned
  /** The events on which the chain stands. */
  anchors: readonly Known[]
  /** Nothing more comes: what is waited for will not be. */
  isLast: boolean
}

const badRecord: Record<string, Errcode> = {
  'too-large': 'M_TOO_LARGE',
  'bad-json': 'M_BAD_JSON',
  malformed: 'M_INVALID_PARAM',
}

/** Makes events of records, each on top of the one before. The staging is ahead of the database then. */
export class PieceBuilder {
  readonly piece: Piece
  readonly #given: PieceParts
  #prevIds: readonly string[]
  #prevNids: readonly number[]
  #prevHashes: ReadonlyMap<string, string>

  constructor(given: PieceParts) {
    const { room, staging, anchors } = given
    this.#given = given
    this.piece = {
      part: emptyPart(room.shard, room.nid),
      records: [],
      waiting: [],
      settled: [],
      dropped: [],
      failed: [],
      degraded: 0,
    }
    const { tip } = staging
    this.#prevIds = tip ? [tip.eventId] : anchors.map(({ event }) => event.eventId)
    this.#prevNids = tip ? [tip.nid] : anchors.map(({ nid }) => nid)
    this.#prevHashes = tip?.hash
      ? new Map([[tip.eventId, tip.hash]])
      : room.version.eventFormat === 'named'
        ? hashesOf(anchors.map(({ event }) => event))
        : new Map<string, string>()
  }

  *addAll(records: readonly ImportRecord[]): Task<void> {
    for (const [index, record] of records.entries()) {
      this.add(record)
      if (index % perStep === perStep - 1) yield
    }
  }

  /** Makes an event of a record, or keeps a place for it until what it relates to is there. */
  add(record: ImportRecord): void {
    const { staging, isLast, batch } = this.#given
    const isThere = relatedTo(record).every((name) => this.#find(name) !== undefined)
    if (!isThere && !isLast && staging.mayWait) {
      const index = staging.nextIndex++
      const text = recordText(record)
      staging.await(index, record, text.length)
      this.piece.waiting.push({ chain_index: index, record: text })
      this.piece.records.push({ srcId: record.srcId, batch, eventNid: null })
      return
    }
    const related = relate(record, (name) => this.#find(name)?.eventId)
    if (!related) {
      this.#fail(record, 'M_NOT_FOUND', 'What the record relates to is not there')
      return
    }
    if (this.#make(record, staging.nextIndex, related)) this.#follow(record.srcId)
  }

  /** Makes an event of what waited, without what is not there. */
  settle(index: number): void {
    const { staging } = this.#given
    const record = staging.waiting.get(index)
    if (!record) return
    const related = relate(record, (name) => this.#find(name)?.eventId)
    staging.settle(index)
    this.piece.settled.push(index)
    if (related && this.#make(record, index, related)) {
      this.#follow(record.srcId)
      return
    }
    this.piece.dropped.push(record.srcId)
    if (!related) this.#fail(record, 'M_NOT_FOUND', 'What the record relates to is not there')
  }

  /** What waited for a record goes on, if it waits for nothing else. */
  #follow(srcId: string): void {
    const { staging } = this.#given
    for (const index of staging.awaiting(srcId)) {
      const record = staging.waiting.get(index)
      if (record && relatedTo(record).every((name) => this.#find(name) !== undefined))
        this.settle(index)
    }
  }

  #find(srcId: string): Named | undefined {
    return this.#given.staging.recall(srcId) ?? this.#given.known.get(srcId)
  }

  /** Makes an event at an index of the chain; false if it may not be. */
  #make(record: ImportRecord, index: number, related: Related): boolean {
    const { parts, room, staging, rights, nids, numbers, batch } = this.#given
    const own = rights.get(record.sender)
    if (!own) return this.#fail(record, 'M_FORBIDDEN', 'The sender is not in the room')
    const { version, roomId } = room
    const built = buildEvent(
      version,
      {
        roomId,
        type: record.type,
        sender: record.sender,
        content: related.content,
        prevEvents: this.#prevIds,
        authEvents: own.authIds,
        depth: staging.depthAt(index),
        originServerTs: record.ts,
        redacts: related.redacts,
        named:
          version.eventFormat === 'named'
            ? {
                eventId: randomEventId(parts.signing.serverName),
                hashes: new Map([...this.#prevHashes, ...hashesOf(own.auths)]),
              }
            : undefined,
      },
      parts.signing,
    )
    if (built.outcome !== 'built')
      return this.#fail(record, badRecord[built.outcome]!, built.reason)
    const { event, text } = built
    const refusal = own.refusal(event)
    if (refusal !== undefined) return this.#fail(record, 'M_FORBIDDEN', refusal)
    const nid = nids.pop()
    if (nid === undefined) throw new Error('there are no numbers left for imported events')
    if (index === staging.nextIndex) staging.nextIndex++
    if (related.isDegraded) this.piece.degraded++
    this.piece.part.events.push(
      this.#row(event, text, {
        nid,
        index,
        typeNid: numbers.type(event.type),
        senderNid: numbers.user(event.sender),
        authNids: own.authNids,
      }),
    )
    this.piece.records.push({ srcId: record.srcId, batch, eventNid: nid })
    if (related.redacts !== undefined) this.#redact(record, nid, related.redacts)
    staging.remember(record.srcId, { eventId: event.eventId, own: true })
    this.#goOn(event, nid)
    return true
  }

  /** What is read already must not change before the import can be seen. */
  #redact({ relates }: ImportRecord, nid: number, target: string): void {
    this.piece.part.redactions.push({
      targetId: packEventId(target),
      redactionNid: nid,
      applied: this.#find(relates.target!)?.own ?? false,
    })
  }

  #goOn(event: RoomEvent, nid: number): void {
    const tip = tipOf({ nid, event })
    this.#given.staging.tip = tip
    this.#prevIds = [event.eventId]
    this.#prevNids = [nid]
    if (tip.hash !== undefined) this.#prevHashes = new Map([[event.eventId, tip.hash]])
  }

  #row(
    event: RoomEvent,
    text: string,
    at: {
      nid: number
      index: number
      typeNid: number
      senderNid: number
      authNids: readonly number[]
    },
  ): NewEvent {
    const { staging } = this.#given
    return {
      eventNid: at.nid,
      eventId: packEventId(event.eventId),
      typeNid: at.typeNid,
      stateKeyNid: null,
      senderNid: at.senderNid,
      depth: event.depth,
      originServerTs: event.originServerTs,
      authNids: at.authNids,
      json: text,
      internal: null,
      rejection: null,
      claimed: false,
      chain: staging.row.chain,
      chainIndex: at.index,
      position: null,
      ingest: null,
      flags: 0,
      snapshotNid: staging.snapshot.nid,
      destinationSet: null,
      pushFlags: 0,
      prevNids: this.#prevNids,
    }
  }

  #fail({ srcId }: ImportRecord, errcode: Errcode, error: string): false {
    this.piece.failed.push(failed(srcId, errcode, error))
    return false
  }
}

import { randomUUID } from 'node:crypto'
import type { Pool } from '#store/db.ts'
import {
  type Batch,
  type MemberChange,
  type NewEvent,
  type RoomPart,
  emptyPart,
} from '#store/room/batch.ts'
import * as commits from '#store/room/commit.ts'
import { type Shard, takeOver } from '#store/room/shards.ts'

/** One owner of a few shards, as a room worker is one; events are made of as little as may be. */
export class Owner {
  readonly pool: Pool
  readonly shards: Map<number, Shard>

  private constructor(pool: Pool, shards: Shard[]) {
    this.pool = pool
    this.shards = new Map(shards.map((shard) => [shard.shard, shard]))
  }

  static async of(pool: Pool, shards: number[], name = 'test'): Promise<Owner> {
    return new Owner(pool, await takeOver(pool, shards, name))
  }

  shard(shard: number): Shard {
    return this.shards.get(shard)!
  }

  /** A part that creates a room. */
  room(shard: number, roomId = `!${randomUUID()}:a.example`): RoomPart {
    const part = emptyPart(shard, this.shard(shard).nextNid())
    part.created = { roomId, version: '11', kind: 'joined', partial: false }
    return part
  }

  event(part: RoomPart, given: Partial<NewEvent> = {}): NewEvent {
    const shard = this.shard(part.shard)
    const eventNid = given.eventNid ?? shard.nextNid()
    const event: NewEvent = {
      eventNid,
      eventId: crypto.getRandomValues(new Uint8Array(32)),
      typeNid: 1,
      stateKeyNid: null,
      senderNid: 1,
      depth: 1,
      originServerTs: 1,
      chain: null,
      chainIndex: null,
      position: shard.nextPosition(),
      ingest: shard.nextIngest(),
      flags: 0,
      snapshotNid: null,
      destinationSet: null,
      pushFlags: 0,
      prevNids: [],
      authNids: [],
      json: '{"content":{}}',
      internal: null,
      rejection: null,
      claimed: false,
      ...given,
    }
    part.events.push(event)
    return event
  }

  /** A state event that becomes current state at once. */
  state(
    part: RoomPart,
    stateKeyNid: number,
    old: number | null,
    member: MemberChange | null = null,
    typeNid = 2,
  ): NewEvent {
    const event = this.event(part, { typeNid, stateKeyNid })
    part.state.push({
      position: event.position!,
      typeNid,
      stateKeyNid,
      oldEventNid: old,
      newEventNid: event.eventNid,
      member,
    })
    return event
  }

  batch(...parts: RoomPart[]): Batch {
    const shards = new Set(parts.map(({ shard }) => shard))
    return {
      id: randomUUID(),
      shards: Array.from(shards, (shard) => this.shard(shard).advance()),
      parts,
    }
  }

  async commit(...parts: RoomPart[]): Promise<Batch> {
    const batch = this.batch(...parts)
    await commits.commit(this.pool, batch)
    for (const { shard } of batch.shards) this.shard(shard).batch = batch.id
    return batch
  }
}

/** The next part of a room that exists. */
export const next = (part: RoomPart): RoomPart => emptyPart(part.shard, part.roomNid)

/** What a promise fails with. */
export async function failure(promise: Promise<unknown>): Promise<unknown> {
  try {
    await promise
  } catch (error) {
    return error
  }
  throw new Error('It did not fail')
}

import type { Snapshot } from './snapshots.ts'
import { type Chunk, chunkBytes, type StateMap } from './state-map.ts'

/**
 * Snapshots in memory, the least used of them dropped above a number of bytes. What snapshots share is
 * counted once, and as long as one of them holds it.
 */
export class SnapshotCache {
  readonly #maxBytes: number
  /** In the order of use. */
  readonly #byNid = new Map<number, Snapshot>()
  readonly #byRoom = new Map<number, RoomSnapshots>()
  readonly #layers = new Map<object, number>()
  #bytes = 0

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes
  }

  get bytes(): number {
    return this.#bytes
  }
  get size(): number {
    return this.#byNid.size
  }

  get(nid: number): Snapshot | undefined {
    const snapshot = this.#byNid.get(nid)
    if (!snapshot) return undefined
    this.#byNid.delete(nid)
    this.#byNid.set(nid, snapshot)
    return snapshot
  }

  /** The snapshot of this very state of a room, if it is in memory. */
  findSame(roomNid: number, state: StateMap): Snapshot | undefined {
    const nid = this.#byRoom.get(roomNid)?.byState.get(state.text)
    const snapshot = nid === undefined ? undefined : this.get(nid)
    return snapshot?.state.size === state.size ? snapshot : undefined
  }

  /** Everything in memory of a room. */
  ofRoom(roomNid: number): Map<number, Snapshot> {
    const room = this.#byRoom.get(roomNid)
    return new Map(Array.from(room?.nids ?? [], (nid) => [nid, this.#byNid.get(nid)!]))
  }

  add(snapshot: Snapshot): void {
    if (this.#byNid.has(snapshot.nid)) this.remove(snapshot.nid)
    this.#byNid.set(snapshot.nid, snapshot)
    const room = this.#byRoom.get(snapshot.roomNid) ?? { nids: new Set(), byState: new Map() }
    this.#byRoom.set(snapshot.roomNid, room)
    room.nids.add(snapshot.nid)
    room.byState.set(snapshot.state.text, snapshot.nid)
    this.#bytes += this.#own(snapshot)
    for (const chunk of snapshot.state.chunks) this.#hold(chunk)
    for (const layer of snapshot.layers) {
      const holders = this.#layers.get(layer) ?? 0
      this.#layers.set(layer, holders + 1)
      if (holders === 0) this.#bytes += layerBytes(layer)
    }
    // The newest stays, however large: somebody is about to use it.
    for (const nid of this.#byNid.keys()) {
      if (this.#bytes <= this.#maxBytes || this.#byNid.size === 1) break
      this.remove(nid)
    }
  }

  /** Also for what was made and not committed. */
  remove(nid: number): void {
    const snapshot = this.#byNid.get(nid)
    if (!snapshot) return
    this.#byNid.delete(nid)
    const room = this.#byRoom.get(snapshot.roomNid)!
    room.nids.delete(nid)
    const key = snapshot.state.text
    if (room.byState.get(key) === nid) room.byState.delete(key)
    if (room.nids.size === 0) this.#byRoom.delete(snapshot.roomNid)
    this.#bytes -= this.#own(snapshot)
    for (const chunk of snapshot.state.chunks)
      if (--chunk.refs === 0) this.#bytes -= chunkBytes(chunk)
    for (const layer of snapshot.layers) {
      const holders = this.#layers.get(layer)! - 1
      if (holders > 0) {
        this.#layers.set(layer, holders)
        continue
      }
      this.#layers.delete(layer)
      this.#bytes -= layerBytes(layer)
    }
  }

  #own = ({ state, layers }: Snapshot) => 400 + 8 * state.chunks.length + 8 * layers.length

  #hold(chunk: Chunk): void {
    if (chunk.refs++ === 0) this.#bytes += chunkBytes(chunk)
  }
}

type RoomSnapshots = { nids: Set<number>; byState: Map<string, number> }

const layerBytes = ({ changes }: { changes: { keys: Float64Array } | undefined }) =>
  200 + 16 * (changes?.keys.length ?? 0)

import type { RoomRef } from './room-ref.ts'

/** One local user's place in one room, as of the vector it was given for. Never changed, replaced. */
export type Place = RoomRef & {
  /** A membership that a resolution took away, with no event in its place, is a leave. */
  readonly membership: string
  readonly eventNid: number | undefined
  /** Where this membership became current. */
  readonly position: number
}

/** Where a user is. */
export class Places {
  readonly byRoom: Map<number, Place>
  /** Somebody reads it: from then on it stays as it is. */
  isShown = false
  #all: readonly Place[] | undefined

  constructor(byRoom = new Map<number, Place>()) {
    this.byRoom = byRoom
  }

  get all(): readonly Place[] {
    return (this.#all ??= [...this.byRoom.values()])
  }

  /** Those of some rooms; all of them if it is not known of which. */
  of(rooms: ReadonlySet<number> | undefined): readonly Place[] {
    if (!rooms) return this.all
    return Array.from(rooms).flatMap((roomNid) => this.byRoom.get(roomNid) ?? [])
  }
}

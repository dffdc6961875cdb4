import type { Lane } from '#engine/room/lane.ts'

/** Asks other servers for what parked events lack. */
export class MissingFetcher {
  start(_lane: Lane): void {}
}

import type { RoomVersion } from '#core/room-version.ts'
import type { Resolution } from './resolvable.ts'
import type { Steps } from './steps.ts'
import { resolveV1 } from './v1.ts'
import { resolveV2 } from './v2.ts'

/**
 * Resolves conflicts between states of a room: gives the event of each key that is not the same in all
 * of them. A conflicted key without an event is absent from the resolved state.
 *
 * Spec: rooms/v1/#state-resolution, rooms/v2/#state-resolution, rooms/v12/#state-resolution
 */
export function resolve(version: RoomVersion, resolution: Resolution): Steps<Map<number, number>> {
  switch (version.stateResolution) {
    case 'v1':
      return resolveV1(resolution)
    case 'v2':
      return resolveV2(resolution, false)
    case 'v2.1':
      return resolveV2(resolution, true)
  }
}

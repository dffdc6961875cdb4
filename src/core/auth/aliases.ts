import { allow, reject, type Verdict } from '#core/verdict.ts'
import { domainOf } from '#core/ids.ts'
import type { RoomEvent } from '#core/event/pdu.ts'

/**
 * Rule 4 of v1–v5: `m.room.aliases`.
 *
 * Spec: rooms/v1/#authorization-rules
 */
export function authorizeAliases(event: RoomEvent): Verdict {
  // 4.1: No state_key: reject.
  if (event.stateKey === undefined) return reject('Aliases are state')
  // 4.2: The sender's domain is not the state_key: reject.
  if (event.stateKey !== domainOf(event.sender))
    return reject('A server can set no aliases but its own')
  // 4.3: Otherwise allow.
  return allow
}

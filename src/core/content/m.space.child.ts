import { isRoomId, isServerName } from '#core/ids.ts'
import type { JsonObject } from '#core/json.ts'

/** The children of a space, as its events name them. Spec: client-server-api/#mspacechild */
export type SpaceChild = {
  readonly roomId: string
  readonly via: readonly string[]
  readonly suggested: boolean
  readonly order: string | undefined
  readonly originServerTs: number
}

/** Servers of one child that may be asked. */
const maxVia = 10

/** Undefined if the event names no child, or no longer. */
export function childOf(
  stateKey: string,
  content: JsonObject,
  originServerTs: number,
): SpaceChild | undefined {
  const via = content['via']
  if (!isRoomId(stateKey) || !Array.isArray(via)) return undefined
  const servers = via.filter((name) => typeof name === 'string' && isServerName(name)) as string[]
  if (servers.length === 0) return undefined
  const order = content['order']
  return {
    roomId: stateKey,
    via: servers.slice(0, maxVia),
    suggested: content['suggested'] === true,
    order: typeof order === 'string' && /^[\x20-\x7e]{1,50}$/.test(order) ? order : undefined,
    originServerTs,
  }
}

/** The order in which children are shown. Spec: client-server-api/#ordering-of-children-within-a-space */
export function byOrder(a: SpaceChild, b: SpaceChild): number {
  if (a.order !== b.order) {
    if (a.order === undefined) return 1
    if (b.order === undefined) return -1
    return a.order < b.order ? -1 : 1
  }
  if (a.originServerTs !== b.originServerTs) return a.originServerTs - b.originServerTs
  return a.roomId < b.roomId ? -1 : 1
}

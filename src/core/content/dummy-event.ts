import type { RoomEvent } from '#core/event/pdu.ts'

/**
 * What a server says to tie the loose ends of a room together. It says nothing to people, and clients
 * are not told of it. Not spec: other servers do so under this name.
 */
export const dummyType = 'org.matrix.dummy_event'

export const isDummy = ({ type, stateKey }: Pick<RoomEvent, 'type' | 'stateKey'>): boolean =>
  type === dummyType && stateKey === undefined

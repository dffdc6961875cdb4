import type { OriginRoom } from './origin-room.ts'
import type { FillWish } from './protocol.ts'

/** Gives a room members and other state, before anybody else is in it; how many state events it has. */
export function fillRoom(room: OriginRoom, { members, states }: Omit<FillWish, 'roomId'>): number {
  const { speakers } = room
  for (let n = 0; n < members; n++) {
    const speaker = speakers[n % speakers.length]!
    room.join(speaker, room.newcomer(speaker), room.tipsFor(speaker, []))
  }
  for (let n = 0; n < states; n++) {
    const speaker = speakers[n % speakers.length]!
    const wish = { stateKey: `${n}`, prev: room.tipsFor(speaker, []) }
    room.speak(speaker, speaker.user('speaker'), 'bench.state', { n }, wish)
  }
  return room.state().length
}

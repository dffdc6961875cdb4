import { Channel, type ChannelOptions, type Handlers, portPair } from '#engine/worker/channel.ts'
import { forwardFederation, forwardRooms } from '#engine/worker/forward.ts'
import type { Federation, FederationCalls, RoomCalls, Rooms } from '#engine/worker/protocol.ts'

/**
 * A room engine in the calling thread, behind the interface of a worker: all that crosses is encoded
 * and decoded as it would be, and the engine asks other servers over the same line.
 */
export function inProcess<Engine extends Handlers<RoomCalls>>(
  build: (federation: Federation) => Engine,
  federation: Federation,
  options: ChannelOptions = {},
): { rooms: Rooms; engine: Engine; close: () => void } {
  const [near, far] = portPair()
  const rooms = new Channel<RoomCalls, FederationCalls>(
    near,
    forwardFederation(federation),
    options,
  )
  let engine: Engine | undefined
  const inner = new Channel<FederationCalls, RoomCalls>(
    far,
    forwardRooms(() => engine!),
  )
  engine = build(inner)
  return {
    rooms,
    engine,
    close: () => {
      rooms.close('The engine is closed')
      inner.close('The engine is closed')
    },
  }
}

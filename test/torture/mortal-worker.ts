import '#src/room-worker.ts'
import { deathChannel } from './mortal-worker-channel.ts'

// A room worker that dies when it is told to, in the middle of whatever it does.
const channel = new BroadcastChannel(deathChannel)
channel.onmessage = ({ data }) => {
  if (Math.random() < (data as { share: number }).share) process.exit(1)
}

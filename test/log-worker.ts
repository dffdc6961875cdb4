import { openLog } from '#src/log.ts'

declare const self: Worker

// Writes one record to the file that it is told, as a room worker would.
self.onmessage = ({ data }: MessageEvent<string>) => {
  openLog({ level: 'info', format: 'auto', file: data }, 'room-2').info('from a worker')
  self.postMessage('done')
}

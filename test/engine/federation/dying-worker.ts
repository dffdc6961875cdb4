import type { FederationWorkerCalls } from '#engine/federation/options.ts'
import { Channel } from '#engine/worker/channel.ts'

/** A federation worker that ends when it is asked for key documents. */
declare const self: Worker

new Channel<object, FederationWorkerCalls>(self, {
  start: async () => null,
  stop: async () => null,
  counters: async () => ({}),
  measure: async () => [],
  request: async () => ({ status: 200, body: '{}' }),
  keys: async () => [],
  keyDocuments: async () => process.exit(1),
  askAppservice: async () => ({ status: 200, body: '{}' }),
  askGateway: async () => ({ status: 200, body: '{}' }),
  download: async () => process.exit(1),
})

import { Questions } from '#engine/appservice/questions.ts'
import type { Context } from '#src/context.ts'

/** A server that no application service belongs to. */
export const noBridges = (): Context['bridges'] => ({
  questions: new Questions([]),
  heardFrom: () => {},
  socketOf: () => undefined,
  hangUp: () => {},
  standings: async () => [],
  retry: () => false,
  skip: async () => undefined,
})

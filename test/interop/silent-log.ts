import loglevel from 'loglevel'
import 'matrix-js-sdk/lib/logger.js'
import type { Logger } from 'matrix-js-sdk/lib/logger'

/**
 * matrix-js-sdk narrates every request, and every event that it has already: a client that is started
 * again begins with a first sync, and one that comes back to a room gets its last events once more. A
 * failing test says enough by itself.
 *
 * Import this before the client: its modules keep the methods that they find when they are loaded.
 */
export const silent: Logger = {
  getChild: () => silent,
  trace: () => {},
  debug: () => {},
  info: () => {},
  warn: () => {},
  error: () => {},
}

// Parts of it use loggers of their own, which take over what the one of the whole package writes with.
for (const logger of Object.values(loglevel.getLoggers())) {
  logger.methodFactory = () => () => {}
  logger.rebuild()
}

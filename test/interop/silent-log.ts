import loglevel from 'loglevel'
import type { Logger } from 'matrix-js-sdk/lib/logger'

/** matrix-js-sdk narrates every request; a failing test says enough by itself. */
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

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

// Parts of it use the logger of the whole package.
loglevel.getLogger('matrix').setLevel('silent')

import { Histogram } from '#core/histogram.ts'

/** What a pool counts of its statements and transactions; read by whoever asks. */
export class StatementMeter {
  /** Called for and not answered: sent, or waiting for a connection or for the database to come back. */
  underWay = 0
  /** The database is away. */
  isAway = false
  failed = 0
  /** Milliseconds from the call to the answer, waiting included; a transaction counts as one. */
  readonly times = new Histogram()
  /** Milliseconds that transactions waited for a connection and their begin. */
  readonly waits = new Histogram()
}

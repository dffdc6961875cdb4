import { Progress } from '#importers/report/progress.ts'
import { Stop } from '#importers/stop.ts'

/** What a command writes to and is stopped by. */
export type Console = {
  write(line: string): void
  /** To standard error: what is not the answer. */
  warn(line: string): void
  isTerminal: boolean
  json: boolean
  /** Asked to come to an end after the batch that is under way. */
  finish: AbortSignal
  /** Asked to stop at once. */
  stop: AbortSignal
}

/** Exit codes: all went in; some was skipped, as the report tells; it stopped before its end. */
export const exit = { clean: 0, stopped: 1, skipped: 3 } as const
export type Exit = (typeof exit)[keyof typeof exit]

/** Progress on standard error, or as JSON on standard output. */
export function progressOn(console: Console): Progress {
  return new Progress({
    isTerminal: console.isTerminal,
    json: console.json,
    write: (line) => (console.json ? console.write(line) : console.warn(line)),
  })
}

/** Reading has no batches: the first interrupt ends it. What was read is read again. */
export function stopReading({ finish, stop }: Console): void {
  if (finish.aborted || stop.aborted)
    throw new Stop('Stopped while the export was read; the same command reads it again')
}

import { type DestinationStream, type Logger, pino } from 'pino'
import { StartupError } from '#store/startup-error.ts'

/** One record per call, with its fields first: `log.warn({ server }, 'does not answer')`. */
export type Log = Logger

export type LogOptions = {
  level: 'trace' | 'debug' | 'info' | 'warn' | 'error' | 'silent'
  /** Where records go, if not to standard output. */
  file?: string
  /** `auto`: readable lines on a terminal, JSON elsewhere. */
  format: 'auto' | 'json' | 'pretty'
}

export const defaultLogOptions: LogOptions = { level: 'info', format: 'auto' }

/** A log that says nothing, for tests. */
export const silentLog: Log = pino({ level: 'silent' })

/**
 * Opens the log. Each thread opens its own, with the same options and its own `thread`: a record is
 * one write, so that they do not mix.
 */
export function openLog(options: LogOptions, thread = 'main'): Log {
  return openLogOn(destinationOf(options), options.level, thread)
}

/** The same on any stream, for tests. */
export const openLogOn = (
  stream: DestinationStream,
  level: LogOptions['level'],
  thread: string,
): Log =>
  pino(
    {
      level,
      base: { thread },
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
    },
    stream,
  )

function destinationOf({ file, format }: LogOptions): DestinationStream {
  const onTerminal = file === undefined && process.stdout.isTTY
  const raw = openDestination(file)
  const pretty = format === 'pretty' || (format === 'auto' && onTerminal)
  return pretty ? { write: (line) => void raw.write(prettyLine(line, onTerminal)) } : raw
}

function openDestination(file: string | undefined) {
  try {
    const raw = pino.destination({ dest: file ?? 1, sync: true, mkdir: true, mode: 0o600 })
    // A reader that went away (`… | head`) must not take the server with it.
    raw.on('error', () => {})
    return raw
  } catch (error) {
    throw new StartupError(`The log ${file} cannot be written: ${reasonOf(error)}`, {
      cause: error,
    })
  }
}

/**
 * Says why the server does not start: on stderr for whoever started it, and in the log for whoever
 * looks there. A broken configuration gives `options` as far as they could be read; without them it is
 * not logged.
 */
export function reportFailure(error: unknown, options: LogOptions | undefined): void {
  const expected = error instanceof StartupError
  const text = expected ? error.message : error instanceof Error ? error.stack : String(error)
  process.stderr.write(`laneway: ${text}\n`)
  if (!options) return
  try {
    const log = openLog(options)
    const fields = expected ? {} : { err: error }
    log.fatal(fields, `the server does not start: ${reasonOf(error)}`)
  } catch (second) {
    if (reasonOf(second) !== reasonOf(error)) process.stderr.write(`laneway: ${reasonOf(second)}\n`)
  }
}

const reasonOf = (error: unknown) => (error instanceof Error ? error.message : String(error))

const colours: Record<string, string> = {
  warn: '33',
  error: '31',
  fatal: '31',
  debug: '2',
  trace: '2',
}

type ReadRecord = { level: string; time: string; thread: string; msg?: string; err?: ReadError }
type ReadError = { stack?: string; message?: string }

/** A record as one readable line; a stack follows on lines of its own. */
export function prettyLine(line: string, coloured: boolean): string {
  const { level: name, time, thread, msg = '', err, ...fields } = JSON.parse(line) as ReadRecord
  const colour = coloured ? colours[name] : undefined
  const mark = colour ? `\x1b[${colour}m${name.padEnd(5)}\x1b[0m` : name.padEnd(5)
  const parts = Object.entries(fields).map(([key, value]) => `${key}=${prettyValue(value)}`)
  const where = thread === 'main' ? [] : [`[${thread}]`]
  const text = [time.slice(11, 23), mark, ...where, msg, ...parts].join(' ')
  return `${text}${prettyError(err)}\n`
}

const prettyValue = (value: unknown): string =>
  typeof value === 'string' && /^[^\s"=]+$/.test(value) ? value : JSON.stringify(value)

function prettyError(err: ReadError | undefined): string {
  if (err === undefined) return ''
  const text = err.stack ?? err.message ?? JSON.stringify(err)
  return `\n  ${text.replaceAll('\n', '\n  ')}`
}

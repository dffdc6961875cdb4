import { MultiBar, type SingleBar } from 'cli-progress'
import { printable } from './printable.ts'

export type ProgressOptions = {
  /** Bars; else a line every ten seconds, or JSON. */
  isTerminal: boolean
  json: boolean
  write(line: string): void
}

const tellEvery = 10_000
/** What the rate is taken over. */
const window = 30_000

/** How far something is. */
export class Track {
  done = 0
  note = ''
  readonly name: string
  readonly total: number
  readonly unit: string
  readonly #samples: { at: number; done: number }[] = []

  constructor(name: string, total: number, unit: string) {
    this.name = name
    this.total = total
    this.unit = unit
    this.sample()
  }

  sample(now = performance.now()): void {
    this.#samples.push({ at: now, done: this.done })
    while (this.#samples.length > 2 && this.#samples[0]!.at < now - window) this.#samples.shift()
  }

  /** A second, over the last half minute. */
  get rate(): number {
    const [first] = this.#samples
    const last = this.#samples.at(-1)
    if (!first || !last || last.at === first.at) return 0
    return ((last.done - first.done) * 1000) / (last.at - first.at)
  }

  get eta(): number | undefined {
    return this.rate > 0 ? Math.max(0, this.total - this.done) / this.rate : undefined
  }
}

/** Tells how far everything is: bars on a terminal, lines or JSON elsewhere. */
export class Progress {
  readonly #options: ProgressOptions
  readonly #bars: MultiBar | undefined
  readonly #tracks = new Map<Track, SingleBar | undefined>()
  readonly #timer: Timer

  constructor(options: ProgressOptions) {
    this.#options = options
    const { isTerminal, json } = options
    this.#bars =
      isTerminal && !json
        ? new MultiBar({
            // The last column stays free: some terminals begin a new line behind it.
            format: (_options, _params, { track }: { track: Track }) =>
              barLine(track, (process.stderr.columns || 80) - 1),
            hideCursor: true,
            clearOnComplete: false,
            emptyOnZero: true,
          })
        : undefined
    this.#timer = setInterval(() => this.#tell(), this.#bars ? 250 : tellEvery)
  }

  begin(name: string, total: number, unit = 'records'): Track {
    const track = new Track(name, total, unit)
    this.#tracks.set(track, this.#bars?.create(total, 0, { track }))
    return track
  }

  end(track: Track): void {
    track.sample()
    this.#show(track)
    const bar = this.#tracks.get(track)
    bar?.stop()
    this.#tracks.delete(track)
  }

  /** A line of its own, above the bars. */
  say(text: string, event: { [name: string]: unknown } = {}): void {
    if (this.#options.json) this.#options.write(JSON.stringify({ event: 'note', text, ...event }))
    else if (this.#bars) this.#bars.log(`${printable(text)}\n`)
    else this.#options.write(text)
  }

  stop(): void {
    clearInterval(this.#timer)
    this.#bars?.stop()
  }

  #tell(): void {
    for (const track of this.#tracks.keys()) {
      track.sample()
      this.#show(track)
    }
  }

  #show(track: Track): void {
    const bar = this.#tracks.get(track)
    if (bar) {
      bar.update(Math.min(track.done, track.total), { track })
      return
    }
    const { name, done, total, rate, eta, note, unit } = track
    if (this.#options.json) {
      this.#options.write(
        JSON.stringify({
          event: 'progress',
          name,
          done,
          total,
          unit,
          rate: Math.round(rate),
          ...(eta !== undefined && { eta_s: Math.round(eta) }),
          ...(note && { note }),
        }),
      )
    } else {
      const percent = total > 0 ? Math.floor((done / total) * 100) : 100
      this.#options.write(
        `${name}: ${percent} %, ${amount(track, done)}/${amount(track, total)}${unit === 'bytes' ? '' : ` ${unit}`}, ${rateText(track)}` +
          `${note ? `, ${note}` : ''}${eta === undefined ? '' : `, ${timeText(eta)} to go`}`,
      )
    }
  }
}

const longestName = 24
const widestBar = 24
const narrowestBar = 5

/** A bar as wide as there is room for. What tells least goes first: the bar, the note, the rate, the amounts. */
export function barLine(track: Track, columns: number): string {
  const { total, done, note, eta } = track
  const part = total > 0 ? Math.min(done / total, 1) : 1
  const percent = `${Math.floor(part * 100)} %`
  const amounts = `${amount(track, done)}/${amount(track, total)}`
  const left = `ETA ${eta === undefined ? '--:--' : timeText(eta)}`
  const name = cut(
    printable(track.name).replace(/\s/g, ' '),
    Math.max(8, Math.min(longestName, Math.floor(columns / 3))),
  )
  const ways = [
    [percent, amounts, rateText(track), note, left],
    [percent, amounts, rateText(track), left],
    [percent, amounts, left],
    [percent, left],
    [percent],
  ]
  for (const [index, fields] of ways.entries()) {
    const text = fields.filter(Boolean).join('  ')
    const room = columns - Bun.stringWidth(name) - Bun.stringWidth(text) - ' [] '.length
    if (room >= narrowestBar) {
      const width = Math.min(room, widestBar)
      const full = Math.round(part * width)
      const padded =
        name + ' '.repeat(Math.max(0, Math.min(longestName - Bun.stringWidth(name), room - width)))
      return `${padded} [${'#'.repeat(full)}${'.'.repeat(width - full)}] ${text}`
    }
    // Without a bar there may be room for all the rest.
    const isLast = index === ways.length - 1
    if (room + ' [] '.length - 1 >= 0 || isLast) return cut(`${name} ${text}`, columns)
  }
  return ''
}

/** At most so many columns. */
function cut(text: string, columns: number): string {
  if (Bun.stringWidth(text) <= columns) return text
  let shown = ''
  for (const character of text) {
    if (Bun.stringWidth(shown + character) > columns - 1) break
    shown += character
  }
  return `${shown}…`
}

const amount = ({ unit }: Track, value: number) =>
  unit === 'bytes' ? `${(value / 1e6).toFixed(1)} MB` : grouped(value)

const rateText = ({ rate, unit }: Track) =>
  unit === 'bytes' ? `${(rate / 1e6).toFixed(1)} MB/s` : `${grouped(Math.round(rate))} ${unit}/s`

/** A number with commas between its thousands. */
export function grouped(value: number): string {
  return value.toLocaleString('en-US')
}

/** Seconds as `h:mm:ss` or `mm:ss`. */
export function timeText(seconds: number): string {
  const whole = Math.round(seconds)
  const part = (value: number) => String(value).padStart(2, '0')
  const rest = `${part(Math.floor(whole / 60) % 60)}:${part(whole % 60)}`
  return whole >= 3600 ? `${Math.floor(whole / 3600)}:${rest}` : rest
}

import type { FileContent } from '#importers/format.ts'
import type { People } from '#importers/matrix/people.ts'
import { filesOf, Mapper } from '#importers/matrix/records.ts'
import { largestContent, weightOf } from '#importers/matrix/size.ts'
import type { PlannedRoom } from '#importers/plan/plan.ts'
import { grouped, type Progress } from '#importers/report/progress.ts'
import type { Source } from '#importers/source.ts'
import {
  type Ledger,
  type Media,
  missing,
  notWanted,
  type RoomRow,
} from '#importers/state/ledger.ts'
import type { Problems } from '#importers/state/problems.ts'
import type { Stamped } from '#importers/state/spool.ts'
import { Stop } from '#importers/stop.ts'

export type Work = { planned: PlannedRoom; room: RoomRow }

export type RehearsalParts = {
  ledger: Ledger
  problems: Problems
  source: Source
  progress: Progress
  people: People
  since: number
  until: number
  withMoves: boolean
  media: boolean
  /** Entries of the export that are larger than the server takes. */
  tooLarge: ReadonlySet<string>
  finish: AbortSignal
  stop: AbortSignal
}

const rowsOfPage = 500

/** What a run would send. */
export type Weight = { events: number; bytes: number; files: number }

/** Maps every record of a room and weighs what comes of it, as a run does, and sends nothing. */
export async function rehearseRoom(
  { planned, room }: Work,
  parts: RehearsalParts,
): Promise<Weight> {
  const { ledger, problems, progress, people, since, until, withMoves } = parts
  const { finish, stop } = parts
  const session = {
    number: -1,
    room: room.number,
    room_id: '',
    session_id: '',
    mode: planned.mode,
    until_seq: ledger.lastSeq(),
    since,
    until,
    people: people.mode,
    moves: 0,
    media: 1,
    state: 'open' as const,
    accepted: 0,
  }
  const name = planned.name ?? room.id
  const track = progress.begin(name, ledger.pending(room.number, session))
  const mapper = new Mapper({
    people,
    roomId: () => undefined,
    media: (content) => presumed(content, parts),
    withMentions: true,
    withMoves,
    problem: (problem) => problems.add('dry', problem),
  })
  const sum = { events: 0, bytes: 0, files: 0 }
  for (let page = ledger.page(session, undefined, rowsOfPage); page.length > 0;) {
    for (const row of page) {
      const item = JSON.parse(row.json) as Stamped
      const { records } = mapper.map(row, item)
      const weights = records.map(({ content }) => weightOf(content))
      sum.events += records.length
      sum.bytes += weights.reduce((total, each) => total + each, 0)
      if (parts.media) sum.files += filesOf(item).length
      if (weights.every((each) => each <= largestContent)) continue
      problems.add('dry', {
        class: 'too_large',
        reason: 'Too large for an event',
        place: item.place ?? { file: '' },
        room: item.room,
        id: item.id,
        done: 'skipped',
      })
    }
    track.done += page.length
    page = ledger.page(session, page.at(-1), rowsOfPage)
    // Lets the progress be told, and a signal arrive.
    await Bun.sleep(0)
    stop.throwIfAborted()
    if (finish.aborted) throw new Stop('Stopped; nothing was written to the server')
  }
  progress.end(track)
  progress.say(`${name}: would be ${grouped(sum.events)} events (${planned.mode})`)
  return sum
}

/** A file as if it had been brought: only what is not even in the export is missing already. */
function presumed(content: FileContent, { source, media, tooLarge }: RehearsalParts): Media {
  if (!media) return missing(notWanted)
  if ('entry' in content && tooLarge.has(content.entry))
    return missing('it is larger than the server takes')
  if ('entry' in content && !source.has(content.entry))
    return missing('the file is not in the export')
  return { mxc: 'mxc://dry/run', type: null, size: null, width: null, height: null, gone: null }
}

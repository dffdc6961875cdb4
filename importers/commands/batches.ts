import type { Place, Problem } from '#importers/format.ts'
import { filesOf, type Mapper } from '#importers/matrix/records.ts'
import type { OutPerson, OutRecord } from '#importers/server/import-api.ts'
import type { Speaker } from '#importers/matrix/people.ts'
import { keyOf, type Uploader } from '#importers/server/media.ts'
import type { Ledger, Session } from '#importers/state/ledger.ts'
import type { Cursor, SpooledRow, Stamped } from '#importers/state/spool.ts'

export type Batch = {
  records: OutRecord[]
  people: OutPerson[]
  /** Their IDs in the export. */
  newcomers: Speaker[]
  /** The last row that is in it. */
  last: Cursor
  rows: number
  places: Map<string, Origin>
}

export type BatchParts = {
  ledger: Ledger
  session: Session
  mapper: Mapper
  uploader: Uploader
  problem(problem: Problem): void
  /** How a user of the server is called and looks. */
  profile(userId: string): Promise<Omit<OutPerson, 'user_id'>>
}

export type Origin = { place: Place; room: string; id: string }

const rowsOfPage = 500
const mostRecords = 3000
/** Of text, in characters: what a request holds beside is about as much again. */
const mostText = 2_500_000

/** Makes batches of the records of a session, one after another. */
export class Batches {
  #cursor: Cursor | undefined
  #page: SpooledRow[] = []
  readonly #introduced: Set<string>
  readonly #parts: BatchParts

  constructor(parts: BatchParts, from: number) {
    this.#parts = parts
    this.#cursor = parts.ledger.cursorBefore(parts.session, from)
    this.#introduced = parts.ledger.introduced(parts.session, from)
  }

  /** The next batch; undefined when all are made. */
  async next(): Promise<Batch | undefined> {
    const batch: Batch = {
      records: [],
      people: [],
      newcomers: [],
      last: { time: 0, tie: '', seq: 0 },
      rows: 0,
      places: new Map(),
    }
    let text = 0
    while (batch.records.length < mostRecords && text < mostText) {
      if (this.#page.length === 0) await this.#turn()
      const row = this.#page.shift()
      if (!row) break
      const item = JSON.parse(row.json) as Stamped
      const { records, speakers } = this.#parts.mapper.map(row, item)
      text += row.json.length
      batch.rows++
      this.#cursor = { time: row.time, tie: row.tie, seq: row.seq }
      batch.last = this.#cursor
      for (const record of records) {
        batch.records.push(record)
        batch.places.set(record.src_id, {
          place: item.place ?? { file: '' },
          room: item.room,
          id: item.id,
        })
      }
      for (const speaker of speakers) this.#introduce(batch, speaker)
    }
    if (batch.rows === 0) return undefined
    await this.#present(batch)
    return batch
  }

  /** The next page, with its files brought to the server. */
  async #turn(): Promise<void> {
    const { ledger, session, uploader } = this.#parts
    this.#page = ledger.page(session, this.#cursor, rowsOfPage)
    const files = this.#page
      .filter(({ json }) => json.includes('"files":') || json.includes('"avatar":'))
      .flatMap(({ json }) => filesOf(JSON.parse(json) as Stamped))
    if (files.length > 0) await uploader.bring(files)
  }

  #introduce(batch: Batch, speaker: Speaker): void {
    if (speaker.isShared || this.#introduced.has(speaker.person)) return
    this.#introduced.add(speaker.person)
    batch.newcomers.push(speaker)
  }

  /** Names and faces of those who speak for the first time. */
  async #present(batch: Batch): Promise<void> {
    const { uploader } = this.#parts
    const ghosts = batch.newcomers.filter(({ isGhost }) => isGhost)
    await uploader.bring(ghosts.flatMap(({ avatar }) => (avatar ? [avatar] : [])))
    for (const { userId, name, avatar, person, isGhost } of batch.newcomers) {
      if (!isGhost) {
        batch.people.push({ user_id: userId, ...(await this.#parts.profile(userId)) })
        continue
      }
      const media = avatar && uploader.get(avatar)
      if (media?.gone && !uploader.isOff) {
        this.#parts.problem({
          class: 'media_gone',
          reason: `The picture of ${name}: ${media.gone}`,
          place: { file: avatar ? keyOf(avatar) : '' },
          id: person,
          done: 'degraded',
        })
      }
      batch.people.push({
        user_id: userId,
        displayname: name,
        ...(media?.mxc && { avatar_url: media.mxc }),
      })
    }
  }
}

/** What the server said of a record that makes no event. */
export function problemOf(
  failed: { src_id: string; errcode: string; error: string },
  places: ReadonlyMap<string, Origin>,
): Problem {
  const origin = places.get(failed.src_id)
  return {
    class:
      failed.errcode === 'M_FORBIDDEN'
        ? 'forbidden'
        : failed.errcode === 'M_TOO_LARGE'
          ? 'too_large'
          : 'server',
    reason: failed.error,
    place: origin?.place ?? { file: '' },
    ...(origin && { room: origin.room }),
    id: origin?.id ?? failed.src_id,
    done: 'skipped',
  }
}

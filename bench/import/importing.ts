import { mkdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { Server } from '#importers/server/client.ts'
import { ImportApi, type Mode, type SessionState } from '#importers/server/import-api.ts'
import type { Login } from '#test/laneway.ts'
import type { WholeServer } from '#bench/whole-server.ts'
import type { Driving } from './api-driver.ts'
import { roomIdOf, writeGitterExport } from './gitter-export.ts'
import { type Line, type Ran, runProgram } from './process.ts'
import type { Talk } from './talk.ts'

/** Talks that go in together, and the room that they go into; else each gets a new one. */
export type Wish = { source: string; talks: readonly Talk[]; into?: string; rate?: number }

/** What became of it. */
export type Imported = {
  /** Until the last room was published, without that the export was written. */
  seconds: number
  /** Of them, until the importer had read and sorted all. */
  readSeconds: number
  cpuUs: number
  peakKib: number
  exportBytes: number
  /** The session of each talk. */
  sessions: (SessionState & { counts: object; commitMs: number })[]
}

/** Imports as an operator does: with the importer, from an archive of Gitter in a folder. */
export class Importing {
  readonly #server: WholeServer
  readonly #admin: Login
  readonly #folder: string
  readonly #withApi: boolean
  readonly #jobs: number
  readonly #api: ImportApi

  constructor(
    server: WholeServer,
    { admin, folder, api, jobs }: { admin: Login; folder: string; api: boolean; jobs: number },
  ) {
    this.#server = server
    this.#admin = admin
    this.#folder = folder
    this.#withApi = api
    this.#jobs = jobs
    this.#api = new ImportApi(new Server(server.url, admin.token))
  }

  /** What is done before, and costs nobody anything: `run` then imports. */
  async prepare(wish: Wish): Promise<{ run: () => Promise<Imported> }> {
    if (this.#withApi) return this.#prepareApi(wish)
    const folder = join(this.#folder, wish.source)
    await mkdir(folder, { recursive: true })
    const exportBytes = await writeGitterExport(join(folder, 'export'), wish.talks)
    const rooms = wish.into ? wish.talks.map((talk) => [roomIdOf(talk), wish.into]) : []
    const map = rooms.map(([from, to]) => `${JSON.stringify(from)} = ${JSON.stringify(to)}`)
    await Bun.write(join(folder, 'map.toml'), ['[rooms]', ...map].join('\n'))
    return {
      run: async () => {
        const imported = await this.#runImporter(folder, exportBytes, wish)
        await rm(folder, { recursive: true })
        return imported
      },
    }
  }

  /** Commits once more; whether it says what it said. */
  async repeats({ session_id: id, counts }: Imported['sessions'][number]): Promise<boolean> {
    return Bun.deepEquals(await this.#api.commit(id), counts)
  }

  /** How long it takes to take it back, in ms. */
  async undo({ session_id: id }: SessionState): Promise<number> {
    const began = performance.now()
    await this.#api.undo(id)
    return performance.now() - began
  }

  async #runImporter(folder: string, exportBytes: number, wish: Wish): Promise<Imported> {
    const plan = join(folder, 'plan.toml')
    const run = (args: string) =>
      runProgram('importers/main.ts', ['--json', ...args.split(' ')], this.#admin.token)
    const read = await run(
      `plan ${folder}/export --server ${this.#server.url} --out ${plan} --source ${wish.source} --map ${folder}/map.toml`,
    )
    const rate = wish.rate === undefined ? '' : ` --rate ${wish.rate}`
    const sent = await run(`run ${plan} --no-media --jobs ${this.#jobs}${rate}`)
    return this.#told(wish, [read, sent], { readSeconds: read.seconds, exportBytes })
  }

  async #prepareApi(wish: Wish): Promise<{ run: () => Promise<Imported> }> {
    const rooms: Driving['rooms'] = []
    for (const { options: talk } of wish.talks) {
      const mode: Mode = wish.into ? 'insert' : 'fresh'
      rooms.push({ talk, mode, roomId: wish.into ?? (await this.#createRoom()) })
    }
    const { url, serverName } = this.#server
    const { source, rate } = wish
    const driving: Driving = { url, serverName, source, rooms, ...(rate && { rate }) }
    const file = join(this.#folder, `${source}.json`)
    await Bun.write(file, JSON.stringify(driving))
    return {
      run: async () => {
        const ran = await runProgram('bench/import/api-driver.ts', [file], this.#admin.token)
        return this.#told(wish, [ran], { readSeconds: 0, exportBytes: 0 })
      },
    }
  }

  async #createRoom(): Promise<string> {
    const wish = { preset: 'private_chat' }
    const path = '/_matrix/client/v3/createRoom'
    return (await this.#admin.ask<{ room_id: string }>('POST', path, wish)).room_id
  }

  async #told(
    { source }: Wish,
    ran: readonly Ran[],
    more: Pick<Imported, 'readSeconds' | 'exportBytes'>,
  ): Promise<Imported> {
    const published = ran.flatMap(({ lines }) => lines).filter(isPublished)
    const states = new Map(
      (await this.#api.sessions({ source })).map((state) => [state.session_id, state]),
    )
    return {
      ...more,
      seconds: ran.reduce((sum, { seconds }) => sum + seconds, 0),
      cpuUs: ran.reduce((sum, { cpuUs }) => sum + cpuUs, 0),
      peakKib: Math.max(...ran.map(({ peakKib }) => peakKib)),
      sessions: published.map(({ session_id: id, counts, commit_ms: commitMs }) => ({
        ...states.get(id)!,
        counts,
        commitMs,
      })),
    }
  }
}

type Published = { session_id: string; counts: object; commit_ms: number }

const isPublished = (line: Line): line is Line & Published => 'commit_ms' in line

import { Pace } from '#importers/commands/pace.ts'
import { Server } from '#importers/server/client.ts'
import { ImportApi, type Mode, type OutRecord } from '#importers/server/import-api.ts'
import { people, Talk, type TalkOptions } from './talk.ts'

/**
 * A program that puts talks into rooms by the server's API, with nothing read, sorted or converted: what the
 * importer does beside that is what it takes longer. Reads what to do from a file, and prints for each room what became of it.
 */
export type Driving = {
  url: string
  source: string
  serverName: string
  rate?: number
  rooms: { talk: TalkOptions; roomId: string; mode: Mode }[]
}

const batchSize = 4000
const jobs = 2

const { url, source, serverName, rate, rooms } = (await Bun.file(Bun.argv[2]!).json()) as Driving
const api = new ImportApi(new Server(url, process.env['LANEWAY_TOKEN']))
const pace = new Pace(rate)
const never = new AbortController().signal
const userIdOf = (author: number) => `@_import_${source}_${author}:${serverName}`
const persons = people.map(({ displayName }, n) => ({
  user_id: userIdOf(n),
  displayname: displayName,
}))

const rest = rooms.values()
await Promise.all(
  Array.from({ length: jobs }, async () => {
    for (const room of rest) await importRoom(room)
  }),
)

async function importRoom({ talk, roomId, mode }: Driving['rooms'][number]): Promise<void> {
  const { session_id: id } = await api.open({
    room_id: roomId,
    source,
    mode,
    ...(mode === 'insert' && { position: { by_time: true } }),
  })
  const batches = new Talk(talk).records(userIdOf)
  let flying: Promise<unknown> | undefined
  for (let n = 0; ; n++) {
    const records = take(batches)
    const answer = await flying
    if (answer) refuseFailed(answer as Awaited<ReturnType<ImportApi['put']>>)
    if (records.length === 0) break
    await pace.take(records.length, never)
    flying = api.put(id!, n, { people: n === 0 ? persons : [], records })
    // Failures are met where it is waited for.
    flying.catch(() => undefined)
  }
  const began = performance.now()
  const counts = await api.commit(id!)
  const took = Math.round(performance.now() - began)
  console.log(JSON.stringify({ event: 'note', session_id: id, counts, commit_ms: took }))
}

function refuseFailed({ failed }: Awaited<ReturnType<ImportApi['put']>>): void {
  if (failed.length > 0) throw new Error(`Records failed: ${JSON.stringify(failed.slice(0, 3))}`)
}

function take(from: Generator<OutRecord>): OutRecord[] {
  const taken: OutRecord[] = []
  while (taken.length < batchSize) {
    const next = from.next()
    if (next.done) break
    taken.push(next.value)
  }
  return taken
}

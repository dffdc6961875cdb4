import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { People } from '#importers/matrix/people.ts'
import { Mapper } from '#importers/matrix/records.ts'
import { type Plan, readPlan } from '#importers/plan/plan.ts'
import { grouped } from '#importers/report/progress.ts'
import { Refused, Server } from '#importers/server/client.ts'
import { keyOf } from '#importers/server/media.ts'
import { openState, stateFolder } from '#importers/state/database.ts'
import { Ledger, missing, notWanted, type Session } from '#importers/state/ledger.ts'
import { expectedOf } from '#importers/verify/expected.ts'
import { type Elsewhere, readElsewhere } from '#importers/verify/elsewhere.ts'
import { Order } from '#importers/verify/order.ts'
import { type Counts, type Fault, RoomCheck } from '#importers/verify/room-check.ts'
import { RoomPages } from '#importers/verify/room-pages.ts'
import { connect, type Connection, tokenOf } from './connect.ts'
import { type Console, type Exit, exit } from './console.ts'
import { type SessionOptions, sessionsOf } from './sessions.ts'

export type VerifyOptions = SessionOptions & {
  full?: boolean
  sample: number
  readerToken?: string | undefined
  readerTokenFile?: string
  fromServer?: string
}

const mostThreads = 500
const mostMedia = 500

/** Reads what was imported as a user does, and compares it with the export. */
export async function verify(
  wanted: string | undefined,
  options: VerifyOptions,
  console: Console,
): Promise<Exit> {
  const plan = await readPlan(options.plan)
  const connection = await connect(plan.server.url, options, console)
  const reader = await readerOf(plan, options, connection, console)
  const folder = await mkdtemp(join(tmpdir(), 'laneway-verify-'))
  const db = openState(stateFolder(options.plan))
  try {
    const ledger = new Ledger(db)
    const sessions = sessionsOf(ledger, wanted).filter(({ state }) => state === 'committed')
    let faults = 0
    for (const session of sessions) {
      const parts = { plan, ledger, connection, reader, options, console, folder }
      faults += await verifySession(session, parts)
      console.stop.throwIfAborted()
    }
    if (!options.fromServer) faults += await verifyMedia(ledger, reader, options, console)
    say(console, faults === 0 ? 'All is there' : `${grouped(faults)} differences`, { faults })
    return faults === 0 ? exit.clean : exit.skipped
  } finally {
    db.close()
    await rm(folder, { recursive: true, force: true })
  }
}

type Parts = {
  plan: Plan
  ledger: Ledger
  connection: Connection
  reader: Server
  options: VerifyOptions
  console: Console
  folder: string
}

/** Whoever reads: a plain user, here or on another server; else the importer. */
async function readerOf(
  plan: Plan,
  { readerToken, readerTokenFile, fromServer }: VerifyOptions,
  { server }: Connection,
  console: Console,
): Promise<Server> {
  if (readerToken === undefined && readerTokenFile === undefined && fromServer === undefined) {
    console.warn('Read by the importer itself: a plain user is given with --reader-token-file')
    return server
  }
  const token = await tokenOf({ token: readerToken, tokenFile: readerTokenFile })
  return new Server(fromServer ?? plan.server.url, token, console.stop)
}

async function verifySession(session: Session, parts: Parts): Promise<number> {
  const { ledger, connection, reader, options, console, folder } = parts
  const room = ledger.rooms().find(({ number }) => number === session.room)
  const name = `${room?.name ?? room?.id ?? ''} (${session.session_id})`
  using order = new Order(await mkdtemp(join(folder, 'session-')))
  // The order is that of our own server; with another one, it is read there and compared.
  const ours = options.fromServer ? connection.server : reader
  const check = new RoomCheck(new RoomPages(ours, session.room_id), order)
  const mapper = mapperFor(session, parts)
  const counts = await check.forwards(expectedOf(ledger, session, mapper, connection.api))
  tellCounts(console, name, counts, order.count)
  if (options.fromServer) {
    const found = await readElsewhere(new RoomPages(reader, session.room_id), order)
    tellElsewhere(console, name, options.fromServer, found)
    tellFaults(console, name, check.faults)
    return check.faultCount + found.missing + found.outOfOrder + found.differing
  }
  await check.backwards()
  const places = await check.small(options.full ? order.count : options.sample)
  const threads = await check.threads(options.full ? Number.MAX_SAFE_INTEGER : mostThreads)
  say(
    console,
    `${name}: read backwards, ${grouped(places)} places with pages of 1 and 7, ${grouped(threads)} threads`,
    { places, threads },
  )
  tellFaults(console, name, check.faults)
  return check.faultCount
}

function mapperFor(session: Session, { plan, ledger, connection }: Parts): Mapper {
  const rooms = new Map(ledger.rooms().map(({ id, roomId }) => [id, roomId ?? undefined]))
  const planned = plan.rooms.find(({ from }) => from === ledger.roomOf(session))
  const mode = session.people ?? planned?.people ?? plan.people.mode
  return new Mapper({
    people: new People(ledger, { ...plan.people, mode }, connection.userId),
    roomId: (id) => rooms.get(id),
    media: (content) => (session.media === 1 ? ledger.media(keyOf(content)) : missing(notWanted)),
    withMentions: session.mode !== 'append',
    withMoves: session.moves === 1,
    // Told when it was sent.
    problem: () => undefined,
  })
}

/** Every file can be fetched, and has its size. */
async function verifyMedia(
  ledger: Ledger,
  reader: Server,
  { full }: VerifyOptions,
  console: Console,
): Promise<number> {
  let checked = 0
  let faults = 0
  for (const { mxc, key } of ledger.uploaded(full ? Number.MAX_SAFE_INTEGER : mostMedia)) {
    checked++
    try {
      await reader.request(
        'HEAD',
        `/_matrix/client/v1/media/download/${mxc.slice('mxc://'.length)}`,
      )
    } catch (error) {
      if (!(error instanceof Refused)) throw error
      faults++
      tellFaults(console, key, [{ what: 'The file cannot be fetched', where: error.message }])
    }
  }
  if (checked > 0)
    say(console, `${grouped(checked)} files can be fetched, or are told above`, { checked })
  return faults
}

function tellCounts(console: Console, name: string, counts: Counts, events: number): void {
  const kinds = [...counts.expected].map(
    ([kind, sent]) => `${grouped(counts.found.get(kind) ?? 0)} of ${grouped(sent)} ${kind}`,
  )
  const same = counts.expectedHash === counts.foundHash
  say(
    console,
    `${name}: ${kinds.join(', ')}, among ${grouped(events)} events; hash ${counts.foundHash.slice(0, 16)}${same ? '' : `, not ${counts.expectedHash.slice(0, 16)}`}`,
    {
      expected: Object.fromEntries(counts.expected),
      found: Object.fromEntries(counts.found),
      expected_hash: counts.expectedHash,
      found_hash: counts.foundHash,
    },
  )
}

function tellElsewhere(console: Console, name: string, server: string, found: Elsewhere): void {
  const { foundHash, expectedHash, faults, ...counts } = found
  say(
    console,
    `${name}: ${server} reads ${grouped(found.found)}, ${grouped(found.missing)} are missing, ${grouped(found.outOfOrder)} out of order, ${grouped(found.differing)} differ; hash ${foundHash.slice(0, 16)}${foundHash === expectedHash ? '' : `, not ${expectedHash.slice(0, 16)}`}`,
    { ...counts, found_hash: foundHash, expected_hash: expectedHash },
  )
  tellFaults(console, name, faults)
}

function tellFaults(console: Console, name: string, faults: readonly Fault[]): void {
  for (const { what, where } of faults.slice(0, 20)) say(console, `${name}: ${what}: ${where}`)
}

function say(console: Console, text: string, event: { [name: string]: unknown } = {}): void {
  console.write(console.json ? JSON.stringify({ event: 'verified', text, ...event }) : text)
}

import { dirname, resolve } from 'node:path'
import type { Person } from '#importers/format.ts'
import { formatOf } from '#importers/formats.ts'
import { escapeLocalpart, People } from '#importers/matrix/people.ts'
import { type PlanMap, readMap } from '#importers/plan/map.ts'
import { type Plan, type PlannedRoom, planText, type Unmapped } from '#importers/plan/plan.ts'
import { titleOf } from '#importers/plan/titles.ts'
import { grouped } from '#importers/report/progress.ts'
import { Refused, type Server } from '#importers/server/client.ts'
import type { ImportApi } from '#importers/server/import-api.ts'
import { roomIdOf } from '#importers/server/rooms.ts'
import { openSource } from '#importers/source/open.ts'
import { openState, stateFolder } from '#importers/state/database.ts'
import { Ledger, type RoomRow } from '#importers/state/ledger.ts'
import { Problems } from '#importers/state/problems.ts'
import { Stop } from '#importers/stop.ts'
import { connect, type Credentials } from './connect.ts'
import { type Console, type Exit, exit } from './console.ts'
import { tellProblems } from './inspect.ts'
import { lockState } from './lock.ts'
import { readInto } from './read-into.ts'

export type PlanOptions = Credentials & {
  server: string
  map?: string
  out: string
  format: string
  source?: string
  tz?: string
  force?: boolean
}

/** Writes a plan: what goes where, and why. */
export async function plan(path: string, options: PlanOptions, console: Console): Promise<Exit> {
  const { out } = options
  if (!options.force && (await Bun.file(out).exists()))
    throw new Stop(`${out} is there already; --force writes it anew, --out another`)
  const { server, api, userId } = await connect(options.server, options, console)
  const map = await readMap(options.map)
  using _ = lockState(stateFolder(out))
  const db = openState(stateFolder(out))
  const problems = new Problems(db)
  const source = await openSource(path, (problem) => problems.add('send', problem))
  try {
    const { format, why } = await formatOf(source, options.format)
    console.warn(`${format.title}, because ${why}`)
    await readInto(db, problems, { source, format, tz: options.tz }, console)
    const ledger = new Ledger(db)
    const name = options.source ?? format.name
    const people = await mapPeople(ledger, map, server, userId)
    const planned: Plan = {
      export: {
        path: resolve(path),
        format: format.name,
        source: name,
        ...(options.tz !== undefined && { timezone: options.tz }),
      },
      server: { url: options.server },
      people: { mode: 'ghosts', prefix: `_import_${escapeLocalpart(name)}_`, map: people },
      rooms: await planRooms(ledger, map, { server, api, source: name }),
    }
    tellCollisions(ledger, planned, userId, console)
    await Bun.$`mkdir -p ${dirname(resolve(out))}`.quiet()
    await Bun.write(out, planText(planned, unmapped(ledger, people)))
    tell(planned, out, console)
    tellProblems(console, problems)
    return problems.skipped > 0 ? exit.skipped : exit.clean
  } finally {
    await source.close()
    db.close()
  }
}

const mostLookUps = 5000
const mostShown = 50

/** People of the map, and those whose e-mail address a user here has. */
async function mapPeople(
  ledger: Ledger,
  map: PlanMap,
  server: Server,
  importer: string,
): Promise<{ [person: string]: string }> {
  const found: { [person: string]: string } = {}
  const home = importer.slice(importer.indexOf(':'))
  let lookUps = 0
  let canLookUp = true
  for (const { id, json } of ledger.writers()) {
    const { username, name, email } = JSON.parse(json) as {
      username?: string
      name?: string
      email?: string
    }
    const wish = [id, username, email, name]
      .map((each) => (each === undefined ? undefined : map.users?.[each]))
      .find((each) => each !== undefined)
    if (wish !== undefined)
      found[id] = /^(ghost|skip|@.*:.*)$/.test(wish) ? wish : `@${wish.replace(/^@/, '')}${home}`
    else if (email !== undefined && canLookUp && lookUps++ < mostLookUps) {
      try {
        const path = `/_synapse/admin/v1/threepid/email/users/${encodeURIComponent(email.toLowerCase())}`
        found[id] = ((await server.get(path)) as { user_id: string }).user_id
      } catch (error) {
        if (!(error instanceof Refused)) throw error
        // An application service may not ask; a listener may not serve it.
        canLookUp = error.errcode === 'M_NOT_FOUND'
      }
    }
  }
  return found
}

/** Those who would be ghosts, the busiest first: for whoever writes the map. */
function unmapped(ledger: Ledger, map: { [person: string]: string }): Unmapped[] {
  const found: Unmapped[] = []
  for (const { id, count, json } of ledger.writers()) {
    if (map[id] !== undefined) continue
    const { name, username, email } = JSON.parse(json) as Omit<Person, 'kind' | 'id'>
    const called = [name, username, email].filter((each) => each !== undefined && each !== id)
    found.push({ id, called: [...new Set(called)].join(', '), count })
    if (found.length === mostShown) break
  }
  return found
}

type Place = { server: Server; api: ImportApi; source: string }

async function planRooms(ledger: Ledger, map: PlanMap, place: Place): Promise<PlannedRoom[]> {
  const counts = new Map(ledger.roomCounts().map((each) => [each.number, each]))
  const rooms: PlannedRoom[] = []
  for (const room of ledger.rooms()) {
    const count = counts.get(room.number)
    const title = titleOf(room, ledger)
    const to = map.rooms?.[room.id] ?? map.rooms?.[room.name ?? ''] ?? 'create'
    const messages = count?.messages ?? 0
    const where =
      messages === 0 && to === 'create'
        ? { to: 'skip', mode: 'fresh' as const, why: 'nothing was said in it' }
        : await modeOf(to, place)
    rooms.push({
      from: room.id,
      ...where,
      ...(title !== undefined && { name: title }),
      ...(room.topic !== undefined && { topic: room.topic }),
      visibility: visibilityOf(room),
      messages,
      ...(count && { first: dayOf(count.first), last: dayOf(count.last) }),
    })
  }
  return rooms
}

const visibilityOf = (room: RoomRow) => (room.type === 'public' ? 'public' : 'private')

/** Where a room goes and how, as the server's own check of each way says. */
async function modeOf(
  to: string,
  { server, api, source }: Place,
): Promise<Pick<PlannedRoom, 'to' | 'mode' | 'why'>> {
  if (to === 'create') return { to, mode: 'fresh', why: 'it becomes a new room' }
  if (to === 'skip') return { to, mode: 'fresh', why: 'the map leaves it out' }
  const roomId = await roomIdOf(server, to).catch((error: unknown) => {
    if (error instanceof Refused) throw new Stop(`The map names ${to}: ${error.message}`)
    throw error
  })
  const attempt = async (mode: 'fresh' | 'insert') => {
    try {
      await api.open({
        room_id: roomId,
        source,
        mode,
        ...(mode === 'insert' && { position: { by_time: true as const } }),
        dry_run: true,
      })
      return undefined
    } catch (error) {
      if (error instanceof Refused && error.status < 500) return error.message
      throw error
    }
  }
  if ((await attempt('fresh')) === undefined)
    return { to, mode: 'fresh', why: 'there are no messages in it' }
  const why = await attempt('insert')
  if (why === undefined)
    return { to, mode: 'insert', why: 'there are messages in it, and only users of this server' }
  return { to, mode: 'archive', why }
}

/** Two people whose IDs would make one user. */
function tellCollisions(ledger: Ledger, planned: Plan, importer: string, console: Console): void {
  const people = new People(ledger, planned.people, importer)
  for (const { id } of ledger.writers()) {
    const speaker = people.speaker(id)
    const plain = `@${planned.people.prefix}${escapeLocalpart(id)}:`
    if (speaker?.isGhost && !speaker.userId.startsWith(plain))
      console.warn(`${id}: another person has its user ID already, it becomes ${speaker.userId}`)
  }
}

function tell(planned: Plan, out: string, console: Console): void {
  if (console.json) {
    console.write(JSON.stringify({ event: 'planned', out, rooms: planned.rooms }))
    return
  }
  const kept = planned.rooms.filter(({ to }) => to !== 'skip')
  console.write(
    `${grouped(kept.length)} of ${grouped(planned.rooms.length)} rooms, ${grouped(Object.keys(planned.people.map).length)} people with a user here`,
  )
  for (const { from, name, to, mode, why, messages = 0 } of kept.slice(0, 50))
    console.write(`  ${name ?? from} → ${to}, ${mode}: ${why} (${grouped(messages)} messages)`)
  console.write(`Written to ${out}. Look at it, then: bun run import run ${out} --dry-run`)
}

const dayOf = (time: number) => new Date(time).toISOString().slice(0, 10)

import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { makeCertificates } from '#test/certificates.ts'
import type { LanewayOptions, Login } from '#test/laneway.ts'
import { addresses, Origins } from './origins/origins.ts'
import type { MadeRoom } from './origins/protocol.ts'
import { inParallel, type Kind, type WholeServer, withWholeServer } from './whole-server.ts'

/** A server under a flood, and the servers that flood it; each set of them is a process of its own. */
export type FloodStage = { server: WholeServer; origins: readonly Origins[] }

type Options = {
  kind?: Kind
  /** How many origins there are in each set. */
  sets: readonly number[]
  quick?: boolean
  laneway?: Partial<LanewayOptions>
}

/** Gives `run` a server, and sets of origins that it can reach; all are gone afterwards. */
export async function withFloodStage(
  { kind = 'laneway', sets, quick = false, laneway }: Options,
  run: (stage: FloodStage) => Promise<void>,
): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'laneway-bench-'))
  try {
    const names = sets.flatMap((count, index) => addresses(index + 1, count))
    const certificates = await makeCertificates(folder, names)
    await withWholeServer(
      async (server) => {
        const { serverName, federationUrl } = server
        const target = { serverName, federationUrl }
        const origins = await Promise.all(
          sets.map((count, index) =>
            Origins.start({ net: index + 1, count, certificates, target }),
          ),
        )
        try {
          await run({ server, origins })
        } finally {
          await Promise.all(origins.map((each) => each.stop()))
        }
      },
      { kind, certificates, quick, ...(laneway && { laneway }) },
    )
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

/** A user joins rooms of the origins. */
export async function joinRooms(login: Login, rooms: readonly MadeRoom[]): Promise<void> {
  await inParallel(rooms, 4, ({ roomId, via }) =>
    login.ask(
      'POST',
      `/_matrix/client/v3/join/${encodeURIComponent(roomId)}?server_name=${encodeURIComponent(via)}`,
      {},
    ),
  )
}

/** What of the events that origins have sent a client can read: each must be there once, if it is valid. */
export type Kept = { kept: number; lost: number; doubled: number; wrong: number }

/** Reads the whole history of rooms. */
export async function countKept(
  login: Login,
  valid: Readonly<Record<string, readonly string[]>>,
  wrong: readonly string[],
): Promise<Kept> {
  const total: Kept = { kept: 0, lost: 0, doubled: 0, wrong: 0 }
  const forged = new Set(wrong)
  await inParallel(Object.entries(valid), 2, async ([roomId, ids]) => {
    const history = (await login.history(roomId)).map((event) => event.event_id)
    const seen = new Set(history)
    const kept = ids.filter((id) => seen.has(id)).length
    total.kept += kept
    total.lost += ids.length - kept
    total.doubled += history.length - seen.size
    total.wrong += history.filter((id) => forged.has(id)).length
  })
  return total
}

/** Events of other servers that were taken in and are not yet in their rooms; what Synapse calls staged. */
export async function waiting({ stand, kind }: WholeServer): Promise<number> {
  const [row] =
    kind === 'laneway'
      ? await stand.pool<{ rows: number }[]>`select count(*)::float as rows from inbox`
      : await stand.pool<{ rows: number }[]>`
          select count(*)::float as rows from federation_inbound_events_staging`
  return row!.rows
}

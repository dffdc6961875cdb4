import { authorizationHeader } from '#core/x-matrix.ts'
import type { Json, JsonObject } from '#core/json.ts'
import { type AnyOp } from '#api/http/op.ts'
import { type App, mount } from '#api/http/mount.ts'
import { RateLimits } from '#api/http/rate-limit.ts'
import { serverCheck } from '#api/http/x-matrix.ts'
import { takeEdus } from '#engine/user/take-edus.ts'
import { Intake, type IntakeLimits } from '#engine/federation/intake.ts'
import { loadOwnKeys } from '#engine/federation/own-keys.ts'
import { Keys } from '#engine/user/keys/keys.ts'
import { UserShards } from '#engine/user/owner.ts'
import type { RoomCalls, Rooms } from '#engine/worker/protocol.ts'
import type { Context } from '#src/context.ts'
import { silentLog } from '#src/log.ts'
import type { Pool } from '#store/db.ts'
import { MadeUpFederation, type MadeUpServer } from '#test/builders.ts'
import { answersChecked, checkAnswer } from '#test/spec/responses.ts'
import { PlantedSnapshots } from './plant.ts'
import { noBridges } from '#test/api/no-bridges.ts'

export const here = 'here.test'

type RoomsAnswer = { [M in keyof RoomCalls]?: (...args: Parameters<RoomCalls[M]>) => unknown }

/** What was asked of the owners of rooms; a test says what they answer. */
export class WatchedRooms implements Rooms {
  readonly calls: { method: string; args: unknown[] }[] = []
  answers: RoomsAnswer = {}

  async call<M extends keyof RoomCalls>(
    method: M,
    ...args: Parameters<RoomCalls[M]>
  ): Promise<ReturnType<RoomCalls[M]>> {
    this.calls.push({ method, args })
    const answer = this.answers[method] as ((...all: unknown[]) => unknown) | undefined
    if (!answer) return null as ReturnType<RoomCalls[M]>
    return (await answer(...args)) as ReturnType<RoomCalls[M]>
  }

  of(method: keyof RoomCalls): unknown[][] {
    return this.calls.filter((call) => call.method === method).map(({ args }) => args)
  }
}

/** Handlers for other servers over a real database; the owners of rooms are watched. */
export class Stage {
  readonly ctx: Context
  readonly rooms: WatchedRooms
  readonly federation: MadeUpFederation
  readonly snapshots: PlantedSnapshots
  readonly heard: string[] = []
  readonly #app: App
  readonly #close: () => Promise<void>
  now = Date.now()
  #sent = 0

  private constructor(
    parts: Pick<Stage, 'rooms' | 'federation' | 'snapshots'> & { ctx: Context },
    ops: readonly AnyOp[],
    close: () => Promise<void>,
  ) {
    this.ctx = parts.ctx
    this.rooms = parts.rooms
    this.federation = parts.federation
    this.snapshots = parts.snapshots
    this.#close = close
    const checkServer = serverCheck((server) => this.heard.push(server))
    this.#app = mount(this.ctx, ops, { checkServer, onAnswer: checkAnswer })
  }

  static async open(
    sql: Pool,
    ops: readonly AnyOp[],
    servers: readonly MadeUpServer[],
    limits: Partial<IntakeLimits> = {},
  ): Promise<Stage> {
    let stage: Stage | undefined
    const clock = () => stage?.now ?? Date.now()
    const rooms = new WatchedRooms()
    const federation = new MadeUpFederation(...servers)
    const snapshots = new PlantedSnapshots()
    const ownKeys = await loadOwnKeys(sql, clock)
    const users = new UserShards(sql, { onCommit: () => {}, onFault: () => {} })
    const intake = new Intake({
      serverName: here,
      sql,
      log: silentLog,
      clock,
      rooms,
      takeEdus: (origin, edus) => takeEdus({ sql, users, serverName: here, clock }, origin, edus),
      limits: { maxLagMs: 60_000, ...limits },
    })
    const ctx = {
      config: { federation: {} },
      bridges: noBridges(),
      serverName: here,
      log: silentLog,
      clock,
      sql,
      signingKey: ownKeys.current,
      ownKeys,
      intake,
      rooms,
      users,
      federation,
      keys: new Keys({
        sql,
        serverName: here,
        clock,
        users,
        federation,
        deviceNames: false,
        onFault: () => {},
      }),
      snapshots,
      limits: new RateLimits(undefined, clock),
    } as unknown as Context
    stage = new Stage({ ctx, rooms, federation, snapshots }, ops, () => {
      intake.stop()
      return users.close()
    })
    return stage
  }

  close(): Promise<void> {
    return this.#close()
  }

  /** A request as it arrives. */
  async fetch(request: Request): Promise<{ status: number; body: JsonObject; text: string }> {
    const response = await this.#app.fetch(request)
    const text = await response.text()
    await answersChecked()
    return { status: response.status, body: JSON.parse(text) as JsonObject, text }
  }

  /** A transaction of another server. */
  send(
    from: MadeUpServer,
    pdus: readonly string[],
    { edus = [] as Json[], txnId = `t${++this.#sent}` } = {},
  ) {
    const body = { origin: from.name, pdus: pdus.map((text) => JSON.parse(text) as Json), edus }
    return this.ask(from, 'PUT', `/_matrix/federation/v1/send/${txnId}`, body)
  }

  /** What waits in the inbox, in its order. */
  inbox() {
    return this.ctx.sql<{ room_id: string; origin: string; json: string }[]>`
      select room_id, origin, json from inbox order by inbox_id`
  }

  /** From now until the function that this answers is called, nobody can write the inbox. */
  async lockInbox(): Promise<() => Promise<void>> {
    const locked = Promise.withResolvers<void>()
    const gate = Promise.withResolvers<void>()
    const session = this.ctx.sql.begin(async (sql) => {
      await sql`lock table inbox in share mode`
      locked.resolve()
      await gate.promise
    })
    await Promise.race([locked.promise, session])
    return async () => {
      gate.resolve()
      await session
    }
  }

  /** A request signed by another server. */
  ask(
    server: MadeUpServer,
    method: string,
    uri: string,
    content?: Json,
    changed: { header?: string; body?: string } = {},
  ) {
    const signed = { method, uri, origin: server.name, destination: here, content }
    const body = changed.body ?? (content === undefined ? undefined : JSON.stringify(content))
    return this.fetch(
      new Request(`https://${here}${uri}`, {
        method,
        headers: { authorization: changed.header ?? authorizationHeader(signed, server.key) },
        ...(body !== undefined && { body }),
      }),
    )
  }
}

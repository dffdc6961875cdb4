import { afterEach } from 'bun:test'
import { pino } from 'pino'
import { RateLimits } from '#api/http/rate-limit.ts'
import { type App, mount } from '#api/http/mount.ts'
import { ops } from '#api/index.ts'
import { noAppservices } from '#core/appservice.ts'
import { SigningKey } from '#core/signing.ts'
import { UserShards } from '#engine/user/owner.ts'
import { SyncFilters } from '#engine/user/sync-filters.ts'
import type { RoomCalls, Rooms } from '#engine/worker/protocol.ts'
import type { Context } from '#src/context.ts'
import { MadeUpFederation } from '#test/builders.ts'
import type { Story } from '#test/engine/read/story.ts'
import { answersChecked, checkAnswer } from '#test/spec/responses.ts'
import { noBridges } from '#test/api/no-bridges.ts'

type Body = Record<string, unknown>
export type Reply = { status: number; body: Body }

/** A body as text, for what JavaScript would write differently. */
export class RawBody {
  readonly text: string
  constructor(text: string) {
    this.text = text
  }
}

/** The client-server API over a story; a token is the ID of its user, and rooms only note what is asked. */
export class Front {
  static readonly landed = () => ({
    eventId: '$WbHtBKBHsTyHOtpbCG1Qa9nIVdnmFn0XsgQgZw8b4vA',
    shard: 0,
    position: 0,
  })

  readonly story: Story
  readonly federation = new MadeUpFederation()
  readonly calls: { method: string; roomId: string; request: Body }[] = []
  /** What the owner of the room answers; tests replace it. */
  answer: (method: string, roomId: string, request: Body) => unknown = Front.landed
  readonly ctx: Context
  readonly #app: App
  readonly #users: UserShards

  constructor(story: Story) {
    this.story = story
    this.#users = new UserShards(story.sql, {
      onCommit: (pairs) => story.positions.advanceUsers(pairs),
      onFault: (error) => {
        throw error
      },
    })
    const rooms = {
      call: async (method: keyof RoomCalls, roomId: string, request: Body) => {
        this.calls.push({ method, roomId, request })
        return this.answer(method, roomId, request)
      },
    } as unknown as Rooms
    const { sql, serverName, clock, positions, snapshots, sentMembers } = story
    this.ctx = {
      config: { server_name: serverName, rooms: { default_version: '11' } },
      serverName,
      appservices: noAppservices,
      bridges: noBridges(),
      log: pino({ level: 'error' }, pino.destination({ dest: 2, sync: true })),
      clock,
      sql,
      positions,
      snapshots,
      syncFilters: new SyncFilters(sql),
      sentMembers,
      eventIndex: story.eventIndex,
      signingKey: new SigningKey('a', new Uint8Array(32)),
      rooms,
      users: this.#users,
      federation: this.federation,
      tokens: {
        find: (token: string) => ({ userId: token, deviceId: 'DEVICE', admin: false }),
        sight: () => {},
      },
      limits: new RateLimits(undefined, clock),
    } as unknown as Context
    this.#app = mount(this.ctx, ops, { onAnswer: checkAnswer })
    afterEach(answersChecked)
  }

  async close(): Promise<void> {
    await this.#users.close()
  }

  async ask(method: string, path: string, user: string, body?: object): Promise<Reply> {
    const response = await this.#app.fetch(
      new Request(`http://hs${path.startsWith('/_matrix/') ? '' : '/_matrix/client/v3'}${path}`, {
        method,
        headers: { authorization: `Bearer ${user}` },
        body: body instanceof RawBody ? body.text : body ? JSON.stringify(body) : null,
      }),
    )
    return { status: response.status, body: (await response.json()) as Body }
  }

  get(path: string, user: string): Promise<Reply> {
    return this.ask('GET', path, user)
  }
  put(path: string, user: string, body: object): Promise<Reply> {
    return this.ask('PUT', path, user, body)
  }
  post(path: string, user: string, body: object = {}): Promise<Reply> {
    return this.ask('POST', path, user, body)
  }

  /** The last thing that was asked of a room. */
  get lastCall() {
    return this.calls.at(-1)
  }
}

import { afterAll } from 'bun:test'
import { until } from '#test/until.ts'

export type Push = {
  notification: {
    event_id?: string
    room_id?: string
    type?: string
    sender?: string
    sender_display_name?: string
    room_name?: string
    room_alias?: string
    user_is_target?: boolean
    prio?: string
    content?: Record<string, unknown>
    counts?: { unread?: number }
    devices: { app_id: string; pushkey: string; pushkey_ts: number; data: object; tweaks: object }[]
  }
}

type Answer = { status?: number; body?: unknown; hold?: Promise<unknown> }

/** A push gateway on loopback: a real HTTP server, and what came to it. */
export class Gateway {
  readonly received: { path: string; push: Push }[] = []
  /** How it answers; tests replace it. */
  answer: (push: Push) => Answer = () => ({})
  readonly #server

  private constructor() {
    this.#server = Bun.serve({
      hostname: '127.0.0.1',
      port: 0,
      fetch: async (request) => {
        const push = (await request.json()) as Push
        this.received.push({ path: `${request.method} ${new URL(request.url).pathname}`, push })
        const { status = 200, body = { rejected: [] }, hold } = this.answer(push)
        await hold
        const text = typeof body === 'string' ? body : JSON.stringify(body)
        return new Response(text, { status, headers: { location: 'http://127.0.0.1:1/' } })
      },
    })
  }

  /** Call it at the top of a test file: it is closed after the file's last test. */
  static open(): Gateway {
    const gateway = new Gateway()
    afterAll(() => gateway.#server.stop(true))
    return gateway
  }

  get url(): string {
    return `http://127.0.0.1:${this.#server.port}/_matrix/push/v1/notify`
  }

  /** What came for one pushkey. */
  of(pushkey: string): Push['notification'][] {
    return this.received
      .map(({ push }) => push.notification)
      .filter(({ devices }) => devices.some((device) => device.pushkey === pushkey))
  }

  /** Waits for so many pushes of one key, and answers them all. */
  async wait(pushkey: string, count: number): Promise<Push['notification'][]> {
    await until(() => this.of(pushkey).length >= count)
    return this.of(pushkey)
  }
}

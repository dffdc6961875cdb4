import type { Login } from '#test/laneway.ts'
import type { WholeServer } from '#bench/whole-server.ts'

const everyMs = 100

/** Messages that somebody sends in a room of their own while something else goes on. */
export class LiveSends {
  readonly #login: Login
  readonly #path: string
  #count = 0

  private constructor(login: Login, roomId: string) {
    this.#login = login
    this.#path = `/_matrix/client/v3/rooms/${encodeURIComponent(roomId)}/send/m.room.message/`
  }

  static async open(server: WholeServer): Promise<LiveSends> {
    const login = await server.register('live')
    const wish = { preset: 'private_chat' }
    const path = '/_matrix/client/v3/createRoom'
    const { room_id: roomId } = await login.ask<{ room_id: string }>('POST', path, wish)
    return new LiveSends(login, roomId)
  }

  /**
   * Sends at planned instants, whether or not earlier ones are answered, until `work` is done; ms from when
   * each was due to its answer. One that fails is an error.
   */
  async during<T>(work: Promise<T>): Promise<{ done: T; latencies: number[] }> {
    let isOver = false
    const over = work.finally(() => (isOver = true))
    // What it says is told below.
    over.catch(() => undefined)
    const latencies: number[] = []
    const sending: Promise<unknown>[] = []
    for (let due = performance.now(); !isOver; due += everyMs) {
      const early = due - performance.now()
      if (early > 0) await Bun.sleep(early)
      const body = { msgtype: 'm.text', body: 'live' }
      const sent = this.#login.ask('PUT', `${this.#path}${this.#count++}`, body)
      sending.push(sent.then(() => latencies.push(performance.now() - due)))
    }
    await Promise.all(sending)
    return { done: await over, latencies: latencies.sort((a, b) => a - b) }
  }

  /** The same while nothing else is done. */
  async idle(seconds: number): Promise<number[]> {
    return (await this.during(Bun.sleep(seconds * 1000))).latencies
  }
}

import { MsgType } from 'matrix-js-sdk'
import type { EncryptedDevice } from './encrypted-person.ts'

/** Somebody who goes on talking, whatever becomes of the servers. */
export class Speaker {
  /** All that was said: what the server has taken, and perhaps one text that it has not yet. */
  readonly said: string[] = []
  readonly #device: EncryptedDevice
  readonly #roomId: string
  readonly #about: string
  #running: Promise<void> | undefined
  #stopping = false

  constructor(device: EncryptedDevice, roomId: string, about: string) {
    this.#device = device
    this.#roomId = roomId
    this.#about = about
  }

  start(): void {
    this.#stopping = false
    this.#running = this.#run()
  }

  /** Begins with no other text. */
  pause(): void {
    this.#stopping = true
  }

  /** Ends when the server has taken all that was said. */
  async stop(): Promise<void> {
    this.pause()
    await this.#running
    this.#running = undefined
  }

  async #run(): Promise<void> {
    while (!this.#stopping) {
      await this.say()
      await Bun.sleep(50)
    }
  }

  /** Says a text, and says it again until the server has taken it. */
  async say(): Promise<void> {
    const { client } = this.#device
    const body = `${this.#about} ${this.said.length + 1}`
    this.said.push(body)
    try {
      await client.sendMessage(this.#roomId, { msgtype: MsgType.Text, body })
      return
    } catch {
      // Not taken, or the answer was lost: the same event goes again, under the same transaction.
    }
    for (;;) {
      const event = this.#device.unsent(body)
      if (!event) return
      await Bun.sleep(100)
      await client.resendEvent(event, this.#device.room(this.#roomId)).catch(() => {})
    }
  }
}

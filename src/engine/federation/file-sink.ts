import { createHash } from 'node:crypto'
import { type FileHandle, open } from 'node:fs/promises'
import { TooLargeError } from '#engine/federation/dialer.ts'

/** A file that is being written: its bytes are counted, capped and hashed as they come. */
export class FileSink {
  readonly #handle: FileHandle
  readonly #maxBytes: number
  readonly #hash = createHash('sha256')
  #bytes = 0

  private constructor(handle: FileHandle, maxBytes: number) {
    this.#handle = handle
    this.#maxBytes = maxBytes
  }

  static async open(path: string, maxBytes: number): Promise<FileSink> {
    return new FileSink(await open(path, 'w', 0o600), maxBytes)
  }

  get bytes(): number {
    return this.#bytes
  }

  tooLarge(): TooLargeError {
    return new TooLargeError(`The media is larger than ${this.#maxBytes} bytes`)
  }

  async write(bytes: Uint8Array): Promise<void> {
    this.#bytes += bytes.length
    if (this.#bytes > this.#maxBytes) throw this.tooLarge()
    this.#hash.update(bytes)
    for (let at = 0; at < bytes.length;)
      at += (await this.#handle.write(bytes, at, bytes.length - at)).bytesWritten
  }

  /** All is written, and on the disk. The hash is in hexadecimal digits. */
  async finish(): Promise<{ bytes: number; sha256: string }> {
    await this.#handle.sync()
    return { bytes: this.#bytes, sha256: this.#hash.digest('hex') }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#handle.close()
  }
}

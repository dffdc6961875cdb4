import { Channel } from '#engine/worker/channel.ts'
import type { Caller } from '#engine/worker/protocol.ts'
import type { MediaWorkerCalls } from '#engine/media/protocol.ts'

export type MediaThreadOptions = {
  /** The module that the worker runs: `src/media-worker.ts`. */
  entry: string
  onFault: (error: Error) => void
}

type Line = Channel<MediaWorkerCalls>

const deadlines = { thumbnail: 60_000, preview: 60_000 }
const maxWaiting = 200

/** The media worker as main sees it: begun by the first call that needs it, and again if it dies. */
export class MediaThread implements Caller<MediaWorkerCalls> {
  readonly #options: MediaThreadOptions
  #worker: Worker | undefined
  #line: Line | undefined

  constructor(options: MediaThreadOptions) {
    this.#options = options
  }

  call<M extends keyof MediaWorkerCalls>(
    method: M,
    ...args: Parameters<MediaWorkerCalls[M]>
  ): Promise<ReturnType<MediaWorkerCalls[M]>> {
    return (this.#line ?? this.#begin()).call(method, ...args)
  }

  /** Calls that are not answered yet. */
  get waiting(): number {
    return this.#line?.waiting ?? 0
  }

  stop(): void {
    this.#line?.close('The server is stopping')
    this.#line = undefined
    this.#worker?.terminate()
    this.#worker = undefined
  }

  #begin(): Line {
    const worker = new Worker(this.#options.entry)
    const onFault = (error: Error) => this.#options.onFault(error)
    const line: Line = new Channel(worker, {}, { deadlines, maxWaiting })
    worker.addEventListener('error', (event) => {
      event.preventDefault()
      onFault(new Error(event.message))
    })
    worker.addEventListener('close', () => {
      line.close('The media worker ended')
      if (this.#line !== line) return
      this.#line = undefined
      this.#worker = undefined
      onFault(new Error('The media worker ended'))
    })
    this.#worker = worker
    this.#line = line
    return line
  }
}

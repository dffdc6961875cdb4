/** Loaded before the program: ends its room workers at SIGUSR1, its federation worker at SIGUSR2. */
const workers: { entry: string; worker: Worker }[] = []

globalThis.Worker = class extends Worker {
  constructor(entry: string | URL, options?: WorkerOptions) {
    super(entry, options)
    workers.push({ entry: String(entry), worker: this })
  }
}

const end = (name: string) => {
  for (const { entry, worker } of workers) if (entry.includes(name)) worker.terminate()
}
process.on('SIGUSR1', () => end('room-worker'))
process.on('SIGUSR2', () => end('federation-worker'))

export {}

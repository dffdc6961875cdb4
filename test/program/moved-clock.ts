import { readFileSync } from 'node:fs'

// Run before the program, in each of its threads: its clock goes as far ahead as the file `ahead` in its
// working directory says, in milliseconds.

const real = Date.now.bind(Date)
const ahead = Number(readFileSync('ahead', 'utf8'))
Date.now = () => real() + ahead

const Thread = globalThis.Worker
globalThis.Worker = class extends Thread {
  constructor(url: string | URL, options?: WorkerOptions) {
    super(url, { ...options, preload: [import.meta.path] })
  }
}

import { createServer } from 'node:net'

/**
 * Below those that systems give to connections and to whoever asks for any port: nobody takes one
 * between the look at it and its use by chance.
 */
const lowest = 10_000
const highest = 32_000
const given = new Set<number>()

/** Ports that nobody listens on at the moment, and that this process has not been given before. */
export async function freePorts(count: number): Promise<number[]> {
  const ports: number[] = []
  while (ports.length < count) {
    const port = lowest + Math.floor(Math.random() * (highest - lowest))
    if (given.has(port) || !(await isFree(port))) continue
    given.add(port)
    ports.push(port)
  }
  return ports
}

/** Whether one can listen there on all addresses, and so on each. */
function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer()
    server.once('error', () => resolve(false))
    server.listen(port, () => server.close(() => resolve(true)))
  })
}

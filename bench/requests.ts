import { connect } from 'node:net'
import { cpuFigures, latencyFigures, openBench } from './figures.ts'
import { type WholeServer, withWholeServer } from './whole-server.ts'

const help = `
What an HTTP request costs by itself: one that does nothing (GET /versions), one that is authenticated
(GET /account/whoami), one that reads a row (GET a user's filter), one that is refused. So many connections,
each with one request at a time. Prints requests per second, latency, and the CPU of server and PostgreSQL
per request, apart.

  bun run bench requests [--requests 20000] [--connections 32]
`

const bench = openBench('requests', help, { requests: 20_000, connections: 32 }, { requests: 500 })
const { options } = bench

async function run(server: WholeServer): Promise<void> {
  const [person] = await server.people(1)
  const path = '/_matrix/client/v3'
  const own = `${path}/user/${encodeURIComponent(person!.userId)}/filter`
  const { filter_id: filter } = await person!.ask<{ filter_id: string }>('POST', own, {})
  const kinds: [name: string, path: string, token?: string][] = [
    ['GET /versions', '/_matrix/client/versions'],
    ['GET /account/whoami', `${path}/account/whoami`, person!.token],
    ['GET a filter', `${own}/${filter}`, person!.token],
    ['GET what is not there', `${path}/nothing`],
  ]
  for (const [, uri, token] of kinds) await ask(server.url, uri, token, options.requests / 4)
  for (const [name, uri, token] of kinds) {
    let took = 0
    let times: number[] = []
    const spent = await server.costOf(async () => {
      const began = performance.now()
      times = await ask(server.url, uri, token, options.requests)
      took = performance.now() - began
    })
    bench.tell(name, [
      { name: 'rate', value: (1000 * options.requests) / took, unit: 'requests/s' },
      ...latencyFigures(times),
      ...cpuFigures(spent, options.requests),
    ])
  }
  const after = (await server.memoryKib()) / 1024
  bench.tell('afterwards', [{ name: 'memory', value: after, unit: 'MiB' }])
}

/** Asks over connections of its own, by hand, which costs this process little; the latencies. */
async function ask(
  base: string,
  uri: string,
  token: string | undefined,
  count: number,
): Promise<number[]> {
  const { hostname, port, host } = new URL(base)
  const request =
    `GET ${uri} HTTP/1.1\r\nHost: ${host}\r\nUser-Agent: bench/1\r\nAccept: */*\r\n` +
    `${token === undefined ? '' : `Authorization: Bearer ${token}\r\n`}\r\n`
  const times: number[] = []
  let left = count
  const one = () =>
    new Promise<void>((resolve, reject) => {
      const socket = connect(Number(port), hostname)
      let began = 0
      let text = ''
      const next = () => {
        if (left-- <= 0) return socket.end(resolve)
        began = performance.now()
        text = ''
        socket.write(request)
        return undefined
      }
      socket.on('connect', next)
      socket.on('error', reject)
      socket.on('data', (bytes) => {
        text += bytes.toString('latin1')
        const end = text.indexOf('\r\n\r\n')
        const length = /^content-length: (\d+)/im.exec(text)?.[1]
        if (end < 0 || length === undefined || text.length < end + 4 + Number(length)) return
        times.push(performance.now() - began)
        next()
      })
    })
  await Promise.all(Array.from({ length: options.connections }, one))
  return times
}

await withWholeServer(run, { quick: bench.short })
bench.chart('CPU of a request', ['CPU server', 'CPU PostgreSQL'], { stacked: true })
bench.finish()

import { connect } from 'node:net'
import { numbersOf, printBlock, quantile } from './stand.ts'
import { mib, type WholeServer, withWholeServer } from './whole-server.ts'

const help = `
What an HTTP request costs by itself: one that does nothing (GET /versions), one that is authenticated
(GET /account/whoami), one that reads a row (GET a user's filter), one that is refused. So many connections,
each with one request at a time. Prints requests per second, latency, and the CPU of server and PostgreSQL
per request, apart.

  bun bench/requests.ts [--requests 20000] [--connections 32]
`

const options = numbersOf(help, { requests: 20_000, connections: 32 })

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
    const [cpu, postgres] = await server.costOf(async () => {
      const began = performance.now()
      times = await ask(server.url, uri, token, options.requests)
      took = performance.now() - began
    })
    times.sort((a, b) => a - b)
    const each = (us: number) => `${(us / options.requests).toFixed(0)} µs`
    printBlock(`requests: ${name}, ${options.requests} over ${options.connections} connections`, [
      ['rate', `${((1000 * options.requests) / took).toFixed(0)} requests/s`],
      [
        'latency',
        `p50 ${quantile(times, 0.5).toFixed(2)} ms, p99 ${quantile(times, 0.99).toFixed(2)} ms`,
      ],
      ['CPU per request', `server ${each(cpu)}, PostgreSQL ${each(postgres)}`],
    ])
  }
  printBlock('requests: afterwards', [['memory', mib(await server.memoryKib())]])
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

await withWholeServer(run)

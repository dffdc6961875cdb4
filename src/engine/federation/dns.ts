import { lookup, resolveSrv } from 'node:dns/promises'

export type SrvRecord = { name: string; port: number; priority: number; weight: number }

/** What discovery asks of the domain name system; tests bring their own. */
export type Dns = {
  /** The addresses of a name, the hosts file included; an error if it has none. */
  addresses(host: string): Promise<string[]>
  /** The SRV records of a name; none if it has none or cannot be asked. */
  srv(name: string): Promise<SrvRecord[]>
}

export const systemDns: Dns = {
  async addresses(host) {
    const found = await lookup(host, { all: true })
    return found.map(({ address }) => address)
  },

  async srv(name) {
    try {
      return await resolveSrv(name)
    } catch {
      // Many resolvers answer a question for SRV with a failure where they mean that there is none.
      // What is dialled then must show the certificate of the server's own name all the same.
      return []
    }
  },
}

/** Records in the order in which they are to be tried: by priority, then drawn by weight. */
export function orderSrv(records: readonly SrvRecord[], random: () => number): SrvRecord[] {
  return records
    .filter(({ name }) => name !== '' && name !== '.')
    .map((record) => ({ record, draw: random() ** (1 / Math.max(record.weight, 0.01)) }))
    .sort((a, b) => a.record.priority - b.record.priority || b.draw - a.draw)
    .map(({ record }) => record)
}

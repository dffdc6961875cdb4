import { LRUCache } from 'lru-cache'
import { atMost } from '#core/at-most.ts'

/** Which member event of each (room, user) a client was given, by `room user`. */
type Sent = ReadonlyMap<string, number>

type Client = {
  /** The token that the client is known to hold, and what it was given up to there. */
  token: string
  sent: Sent
  /** What the answer on its way adds. It counts once the client comes back with its token. */
  pending: { token: string; added: Map<string, number> } | undefined
}

/** What one answer knows and adds. */
export type Memory = {
  /** Whether the client has this member event already. */
  has(roomNid: number, userId: string, eventNid: number): boolean
  add(roomNid: number, userId: string, eventNid: number): void
  /** Whether any membership of a user was told. */
  knows(roomNid: number, userId: string): boolean
  /** The answer goes out with this token. */
  keep(token: string): void
}

/** Members kept in mind for one client; it gets those beyond a second time. */
const maxMembers = 2000

/**
 * What lazy loading has told each client. Bounded, and only a memory: a client that is not
 * remembered, or that repeats an old token because an answer was lost, is told again.
 *
 * Spec: client-server-api/#lazy-loading-room-members
 */
export class SentMembers {
  readonly #clients = new LRUCache<string, Client>({ ...atMost(5000), ttl: 3_600_000 })

  /** Begins an answer to a client that holds `token`; undefined at its first sync. */
  begin(userId: string, deviceId: string, token: string | undefined): Memory {
    const key = `${userId} ${deviceId}`
    const sent = this.#sentUpTo(key, token)
    const added = new Map<string, number>()
    const clients = this.#clients
    return {
      has: (roomNid, user, nid) => {
        const name = `${roomNid} ${user}`
        return (added.get(name) ?? sent.get(name)) === nid
      },
      knows: (roomNid, user) => {
        const name = `${roomNid} ${user}`
        return added.has(name) || sent.has(name)
      },
      add: (roomNid, user, nid) => void added.set(`${roomNid} ${user}`, nid),
      keep: (next) =>
        void clients.set(key, { token: token ?? '', sent, pending: { token: next, added } }),
    }
  }

  #sentUpTo(key: string, token: string | undefined): Sent {
    const client = token === undefined ? undefined : this.#clients.get(key)
    if (!client) return new Map()
    const { pending } = client
    if (pending && pending.token === token) return merge(client.sent, pending.added)
    return client.token === token ? client.sent : new Map()
  }
}

function merge(sent: Sent, added: ReadonlyMap<string, number>): Sent {
  if (added.size === 0) return sent
  const all = new Map(sent)
  for (const [name, nid] of added) {
    all.delete(name)
    all.set(name, nid)
  }
  // The oldest go first.
  for (const name of all.keys()) {
    if (all.size <= maxMembers) break
    all.delete(name)
  }
  return all
}

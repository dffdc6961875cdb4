import type { NeededKeys } from '#core/event/signatures.ts'
import type { KeyLookup, ServerKey } from '#core/server-keys.ts'
import { Deadline } from '#engine/room/fetch/deadline.ts'
import type { Fetching } from '#engine/room/fetch/fetching.ts'

/** The federation worker is given a minute for a call. */
const longestMs = 45_000

/** More keys of one server than an honest one uses in the life of a room. */
const maxPerServer = 100

/** The keys that many events need: those that are not at hand are asked for in one call. */
export class KeyWishes {
  readonly #fetching: Fetching
  readonly #atHand: KeyLookup
  readonly #wanted = new Map<string, { keyIds: Set<string>; minimumValidUntilTs: number }>()

  constructor(fetching: Fetching) {
    this.#fetching = fetching
    this.#atHand = fetching.keys ?? (() => undefined)
  }

  add(needed: NeededKeys): void {
    const { server, keyIds, minimumValidUntilTs } = needed
    if (keyIds.length === 0) return
    if (keyIds.some((keyId) => serves(this.#atHand(server, keyId), needed))) return
    const wanted = this.#wanted.get(server)
    if (!wanted) {
      this.#wanted.set(server, { keyIds: new Set(keyIds), minimumValidUntilTs })
      return
    }
    for (const keyId of keyIds) if (wanted.keyIds.size < maxPerServer) wanted.keyIds.add(keyId)
    if (wanted.minimumValidUntilTs < minimumValidUntilTs)
      wanted.minimumValidUntilTs = minimumValidUntilTs
  }

  /** What could be had of them, and what was at hand. */
  async fetch(): Promise<KeyLookup> {
    if (this.#wanted.size === 0) return this.#atHand
    const { federation } = new Deadline(this.#fetching)
    const wanted = [...this.#wanted].map(([server, { keyIds, minimumValidUntilTs }]) => ({
      server,
      keyIds: [...keyIds],
      minimumValidUntilTs,
    }))
    const fetched = new Map<string, ServerKey>()
    for (const found of await federation.call('keys', wanted, longestMs)) {
      const { server, keyId, key, validUntilTs, expiredTs } = found
      const old = expiredTs !== undefined
      const until = expiredTs ?? validUntilTs
      fetched.set(`${server} ${keyId}`, { publicKey: key, validUntilTs: until, old })
    }
    return (server, keyId) => fetched.get(`${server} ${keyId}`) ?? this.#atHand(server, keyId)
  }
}

/** Whether there is no point in asking for a key: an old one stays as it is. */
const serves = (key: ServerKey | undefined, { minimumValidUntilTs }: NeededKeys): boolean =>
  key !== undefined && (key.old || key.validUntilTs >= minimumValidUntilTs)

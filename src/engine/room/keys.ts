import { LRUCache } from 'lru-cache'
import { atMost } from '#core/at-most.ts'
import type { NeededKeys } from '#core/event/signatures.ts'
import type { ServerKey } from '#core/server-keys.ts'
import type { SigningKey } from '#core/signing.ts'
import type { Federation } from '#engine/worker/protocol.ts'

/** After how long a server is asked again for a key that could not be had. */
const askAgainMs = 60_000

/**
 * The keys of other servers that this worker knows, and the requests for more: a server is asked once
 * for all who wait.
 */
export class KeyCache {
  readonly #federation: Federation
  readonly #clock: () => number
  readonly #known = new LRUCache<string, ServerKey>(atMost(20_000))
  readonly #askedAt = new LRUCache<string, number>(atMost(20_000))
  readonly #asking = new Map<string, Promise<void>>()

  constructor(
    federation: Federation,
    own: { serverName: string; key: SigningKey },
    clock: () => number,
  ) {
    this.#federation = federation
    this.#clock = clock
    const { serverName, key } = own
    this.#own = nameOf(serverName, key.keyId)
    this.#ownKey = {
      publicKey: key.publicKey,
      validUntilTs: Number.MAX_SAFE_INTEGER,
      old: false,
    }
  }
  readonly #own: string
  readonly #ownKey: ServerKey

  readonly lookup = (server: string, keyId: string): ServerKey | undefined => {
    const name = nameOf(server, keyId)
    return name === this.#own ? this.#ownKey : this.#known.get(name)
  }

  /** Whether all of these were asked for a short while ago: there is no point in asking again now. */
  askedInVain(needed: readonly NeededKeys[]): boolean {
    const since = this.#clock() - askAgainMs
    return needed.every((each) => (this.#askedAt.get(wishOf(each)) ?? -Infinity) > since)
  }

  /** Asks for keys; resolves when there is an answer or the deadline has passed. */
  async fetch(needed: readonly NeededKeys[], deadlineMs: number): Promise<void> {
    await Promise.all(needed.map((each) => this.#ask(each, deadlineMs)))
  }

  #ask(needed: NeededKeys, deadlineMs: number): Promise<void> {
    const wish = wishOf(needed)
    const asking = this.#asking.get(wish)
    if (asking) return asking
    const { server, keyIds, minimumValidUntilTs } = needed
    const request = this.#federation
      .call(
        'keys',
        [{ server, keyIds: [...keyIds], minimumValidUntilTs: minimumValidUntilTs }],
        deadlineMs,
      )
      .then((found) => {
        for (const { server: name, keyId, key, validUntilTs, expiredTs } of found)
          this.#known.set(nameOf(name, keyId), {
            publicKey: key,
            validUntilTs: expiredTs ?? validUntilTs,
            old: expiredTs !== undefined,
          })
        this.#askedAt.set(wish, this.#clock())
      })
      .finally(() => this.#asking.delete(wish))
    this.#asking.set(wish, request)
    return request
  }
}

// A blank is in no server name.
const nameOf = (server: string, keyId: string) => `${server} ${keyId}`
const wishOf = ({ server, keyIds, minimumValidUntilTs }: NeededKeys) =>
  `${server} ${keyIds.join(' ')} ${minimumValidUntilTs}`

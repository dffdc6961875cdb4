type Claimed = Record<string, Record<string, Record<string, { key: string; fallback?: true }>>>

/** What clients were given when they claimed keys, of whichever server. */
export class Claims {
  /** Each one-time key with the device it is of. */
  readonly #given: string[] = []

  /** To go through for the requests of a client. */
  readonly fetch = (async (...asked: Parameters<typeof globalThis.fetch>) => {
    const response = await fetch(...asked)
    const url = asked[0] instanceof Request ? asked[0].url : String(asked[0])
    if (response.ok && new URL(url).pathname.endsWith('/keys/claim'))
      this.#note((await response.clone().json()) as { one_time_keys: Claimed })
    return response
  }) as typeof globalThis.fetch

  get count(): number {
    return this.#given.length
  }

  /** The one-time keys that were given out more than once. */
  givenTwice(): string[] {
    return this.#given.filter((key, index) => this.#given.indexOf(key) < index)
  }

  #note({ one_time_keys: users }: { one_time_keys: Claimed }): void {
    for (const [userId, devices] of Object.entries(users))
      for (const [deviceId, keys] of Object.entries(devices))
        for (const [keyId, { key, fallback }] of Object.entries(keys))
          // One of these is given to everybody, when there is nothing else.
          if (!fallback) this.#given.push([userId, deviceId, keyId, key].join(' '))
  }
}

/** What was posted to room workers and is not yet taken, by shard: how late they are, as others see it. */
export class Posts {
  readonly #byShard = new Map<number, Set<Post>>()
  #bytes = 0
  #count = 0

  get bytes(): number {
    return this.#bytes
  }

  get count(): number {
    return this.#count
  }

  /** For how long the oldest post to the owner of a shard has waited, in milliseconds. */
  lateMs(shard: number): number {
    const oldest = this.#byShard.get(shard)?.values().next().value
    return oldest ? performance.now() - oldest.at : 0
  }

  /** The same of the owner that is latest. */
  get latestMs(): number {
    let latest = 0
    for (const shard of this.#byShard.keys()) latest = Math.max(latest, this.lateMs(shard))
    return latest
  }

  /** Notes a post; what is called when it is taken. */
  begin(shard: number, bytes: number): () => void {
    const post: Post = { at: performance.now() }
    const posts = this.#byShard.get(shard)
    if (posts) posts.add(post)
    else this.#byShard.set(shard, new Set([post]))
    this.#bytes += bytes
    this.#count++
    return () => {
      this.#bytes -= bytes
      this.#count--
      const own = this.#byShard.get(shard)!
      own.delete(post)
      if (own.size === 0) this.#byShard.delete(shard)
    }
  }
}

type Post = { readonly at: number }

import type { Login } from '#test/laneway.ts'

const factor = 0x9e3779b97f4a7c15n
const wrap = (value: bigint) => BigInt.asUintN(64, value)

/** How many IDs, and a hash of their order: the same whether they come from the first on or from the last. */
export class Order {
  count = 0
  hash = 0n
  readonly #dir: 'f' | 'b'
  #power = 1n

  constructor(dir: 'f' | 'b') {
    this.#dir = dir
  }

  /** The order of what is to be read. */
  static of(...parts: Iterable<string>[]): Order {
    const order = new Order('f')
    for (const ids of parts) for (const id of ids) order.add(id)
    return order
  }

  add(id: string): void {
    this.count++
    const own = wrap(Bun.hash(id) as bigint)
    if (this.#dir === 'b') this.hash = wrap(this.hash * factor + own)
    else {
      this.hash = wrap(this.hash + own * this.#power)
      this.#power = wrap(this.#power * factor)
    }
  }

  equals({ count, hash }: Order): boolean {
    return count === this.count && hash === this.hash
  }
}

/** How far a long room is read is told after so many. */
const tellEvery = 200_000

type Page = { chunk: { content: { [name: string]: unknown } }[]; end?: string }

/** What a room has of an export, read page by page from one end. */
export async function readImported(login: Login, roomId: string, dir: 'f' | 'b'): Promise<Order> {
  const path = `/_matrix/client/v3/rooms/${encodeURIComponent(roomId)}/messages?dir=${dir}&limit=1000`
  const order = new Order(dir)
  let told = 0
  for (let from = ''; ;) {
    const page: Page = await login.get<Page>(path + from)
    if (order.count >= told + tellEvery) {
      told = order.count
      console.error(JSON.stringify({ event: 'progress', name: `read ${dir}`, done: told }))
    }
    for (const { content } of page.chunk) {
      const origin = content['org.laneway.import'] as { id?: string } | undefined
      if (typeof origin?.id === 'string') order.add(origin.id)
    }
    if (page.end === undefined) return order
    from = `&from=${encodeURIComponent(page.end)}`
  }
}

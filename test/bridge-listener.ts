/** An application service as the server sees it: it answers what it is sent, and remembers it. */

export type Transaction = {
  txnId: string
  /** As it came, letter by letter. */
  text: string
  body: Record<string, any> & { events: Record<string, any>[] }
}

type Reply = Response | Promise<Response>

export class BridgeListener {
  /** What it took, in order; what came again is here again. */
  readonly transactions: Transaction[] = []
  readonly questions: { method: string; path: string; query: string; token: string | null }[] = []
  /** What it says to a transaction, before it counts as taken. */
  take: (transaction: Transaction) => Reply = () => Response.json({})
  /** What it says to anything else. */
  answer: (path: string, query: URLSearchParams, body: string) => Reply = () =>
    Response.json({ errcode: 'M_NOT_FOUND' }, { status: 404 })
  readonly #server: Bun.Server<undefined>

  readonly token: string

  constructor(token = 'hs-secret') {
    this.token = token
    this.#server = Bun.serve({
      hostname: '127.0.0.1',
      port: 0,
      idleTimeout: 255,
      fetch: (request) => this.#fetch(request),
    })
  }

  get url(): string {
    return `http://127.0.0.1:${this.#server.port}`
  }

  /** The events that it took, each once, in the order in which they first came. */
  get events(): Record<string, any>[] {
    const once = new Map<string, Transaction>()
    for (const each of this.transactions) if (!once.has(each.txnId)) once.set(each.txnId, each)
    return [...once.values()].flatMap(({ body }) => body.events)
  }

  get texts(): string[] {
    return this.events.flatMap(({ type, content }) =>
      type === 'm.room.message' ? content.body : [],
    )
  }

  all<T = Record<string, any>>(key: string): T[] {
    return this.transactions.flatMap(({ body }) => (body[key] ?? []) as T[])
  }

  async stop(): Promise<void> {
    await this.#server.stop(true)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop()
  }

  async #fetch(request: Request): Promise<Response> {
    const url = new URL(request.url)
    const token = request.headers.get('authorization')
    if (token !== `Bearer ${this.token}`)
      return Response.json({ errcode: 'M_FORBIDDEN' }, { status: 403 })
    const text = await request.text()
    const txnId = /^\/_matrix\/app\/v1\/transactions\/(.+)$/.exec(url.pathname)?.[1]
    if (txnId === undefined || request.method !== 'PUT') {
      const { method } = request
      this.questions.push({ method, path: url.pathname, query: url.search, token })
      return this.answer(url.pathname, url.searchParams, text)
    }
    const transaction = { txnId, text, body: JSON.parse(text) as Transaction['body'] }
    this.transactions.push(transaction)
    return this.take(transaction)
  }
}

import { Elysia } from 'elysia'
import { MatrixError, RemoteError, invalidParam, unrecognized } from '#core/error.ts'
import { type ServerCheck, authenticators } from '#api/http/authenticate.ts'
import { type BodyBytes, allBodies } from '#api/http/body-bytes.ts'
import { parseJson, readText } from '#api/http/body.ts'
import { bodyFault, checker, paramFault, queryReader } from '#api/http/check.ts'
import { type Peer, addressReader } from '#api/http/client-address.ts'
import { corsHeaders } from '#api/http/cors.ts'
import { isPassing, toMatrixError } from '#api/http/fault.ts'
import { Incoming } from '#api/http/incoming.ts'
import { type AnyOp, type Api, type Auth, type Auths, apiOf } from '#api/http/op.ts'
import type { Budget, LimitClass } from '#api/http/rate-limit.ts'
import { Reply } from '#api/http/reply.ts'
import { type Route, RequestTimes, count } from '#api/http/request-times.ts'
import { requireStanding } from '#api/http/standing.ts'
import { prove } from '#api/http/uia.ts'
import type { Context } from '#src/context.ts'

export type MountOptions = {
  /** What the listener serves; all of it unless told. */
  serves?: readonly Api[]
  /** How a server's signature is checked; without it no server is let in. */
  checkServer?: ServerCheck
  /** Addresses and ranges whose `X-Forwarded-For` is believed. */
  trustedProxies?: readonly string[]
  /** What large bodies may take of the memory; of all listeners together, unless told. */
  bodies?: BodyBytes
  /** Counts requests by route, of all listeners together. */
  requests?: RequestTimes
  /** Told of every answer of an operation: tests hold it against the spec. */
  onAnswer?: (op: AnyOp, response: Response) => void
}

export type App = {
  /** For `Bun.serve`. */
  fetch: (this: void, request: Request, server?: Peer) => Response | Promise<Response>
}

const bodyBytes = 1024 * 1024

/**
 * Turns operations into one app; the only place that meets Elysia, which routes. Each request goes:
 * authenticate, count against its budget, read the body, validate, run; the body comes first where a
 * server has signed it.
 */
export function mount(ctx: Context, ops: readonly AnyOp[], options: MountOptions = {}): App {
  const app = new Elysia({
    normalize: false,
    systemRouter: false,
    // The default router cannot find paths of hosts with short names.
    handler: { standardHostname: false },
  })
  const served = new Set<Api>(options.serves ?? ['client', 'federation', 'admin'])
  const address = addressReader(options.trustedProxies ?? [])
  const frame = new Frame(ctx, options, (request) => address(request, frame.peer))
  const paths = new Set<string>()

  for (const op of ops) {
    const answer = frame.handler(op)
    for (const path of [op.path, ...(op.also ?? [])]) {
      if (!op.everywhere && !served.has(apiOf(path))) continue
      for (const method of op.head ? [op.method, 'HEAD'] : [op.method])
        app.route(method, path, ({ request, params }: any) => answer(request, params), {
          parse: 'none',
        } as any)
      paths.add(path)
    }
  }
  for (const path of paths) app.all(path, ({ request }) => frame.refuse(request, 405))
  app.all('/*', ({ request }) => frame.refuse(request, 404))

  return {
    fetch(request, peer) {
      frame.peer = peer
      // The router looks for the path behind `http://`, and would not find it one letter later.
      if (request.url.startsWith('https:'))
        Object.defineProperty(request, 'url', { value: `http${request.url.slice(5)}` })
      return app.fetch(request)
    },
  }
}

type Params = Record<string, string | null>

class Frame {
  peer: Peer | undefined
  readonly #ctx: Context
  readonly #options: MountOptions
  readonly #addressOf: (request: Request) => string
  readonly #authenticate
  readonly #bodies: BodyBytes
  readonly #requests: RequestTimes
  readonly #unmatched: Route
  // Request IDs tell runs of the server apart, too.
  readonly #run = crypto.randomUUID().slice(0, 8)
  #count = 0

  constructor(ctx: Context, options: MountOptions, addressOf: (request: Request) => string) {
    this.#ctx = ctx
    this.#options = options
    this.#addressOf = addressOf
    this.#authenticate = authenticators(options.checkServer)
    this.#bodies = options.bodies ?? allBodies
    this.#requests = options.requests ?? new RequestTimes()
    this.#unmatched = this.#requests.of('any', 'unmatched')
  }

  /** What answers one operation. */
  handler(op: AnyOp): (request: Request, params: Params) => Promise<Response> {
    const prepare = this.#preparation(op)
    const route = this.#requests.of(op.method, op.path)
    return async (request, params) => {
      const incoming = this.#incoming(request)
      const started = performance.now()
      this.#requests.underWay++
      let response
      try {
        const input = await prepare(incoming, params, request)
        const result: unknown = await op.run(input, this.#ctx)
        response = print(result)
      } catch (error) {
        response = this.#printError(error, incoming)
      } finally {
        incoming.held?.release()
        incoming.leave?.()
        this.#requests.underWay--
      }
      this.#record(incoming, response.status, started, op.id, route)
      this.#options.onAnswer?.(op, response)
      return request.method === 'HEAD' ? new Response(null, response) : response
    }
  }

  /** A path that is unknown, or known with other methods; a preflight is answered on any. */
  refuse(request: Request, status: 404 | 405): Response {
    if (request.method === 'OPTIONS')
      return new Response(null, { status: 204, headers: corsHeaders })
    const incoming = this.#incoming(request)
    const response = this.#printError(unrecognized(status), incoming)
    this.#record(incoming, status, performance.now(), '', this.#unmatched)
    return response
  }

  #incoming(request: Request): Incoming {
    return new Incoming(`${this.#run}-${(++this.#count).toString(36)}`, request, this.#addressOf)
  }

  /** The steps before an operation runs. */
  #preparation(op: AnyOp) {
    const ctx = this.#ctx
    const authenticate = this.#authenticate[op.auth as Auth]
    const checkParams = op.params && checker(op.params)
    const readQuery = op.query && queryReader(op.query)
    const checkQuery = op.query && checker(op.query)
    const checkBody = op.body && checker(op.body)
    const signed = op.auth === 'server'
    const maxBytes = op.maxBytes ?? bodyBytes

    const readBody = async (incoming: Incoming, request: Request) => {
      incoming.held = this.#bodies.hold()
      incoming.text = await readText(request, maxBytes, incoming.held)
    }

    return async (incoming: Incoming, params: Params, request: Request) => {
      if (signed && op.method !== 'GET') await readBody(incoming, request)
      if (op.streams) incoming.stream = request.body
      const answer = authenticate(ctx, incoming)
      const who = answer instanceof Promise ? await answer : answer
      requireStanding(op, who)
      if (op.limit && isLimited(who))
        ctx.limits.take(op.limit, limitKey(who, incoming), ownBudget(op.limit, who))
      if (op.atOnce) incoming.leave = ctx.limits.enter(limitKey(who, incoming), op.atOnce)

      requireDecoded(params, incoming)
      if (checkParams) {
        const fault = checkParams(params)
        if (fault) throw paramFault(fault)
      }
      let query
      if (readQuery) {
        query = readQuery(incoming.query)
        const fault = checkQuery!(query)
        if (fault) throw paramFault(fault)
      }
      if (checkBody && !signed) await readBody(incoming, request)
      // Who checked a signature has parsed what it covers, and that is once.
      if (incoming.text !== undefined) incoming.json ??= parseJson(incoming.text)
      if (checkBody) {
        const fault = checkBody(incoming.json)
        if (fault) throw bodyFault(fault)
      }
      const input: any = { who, params, query, body: incoming.json, request: incoming, proof: {} }
      if (op.uia) input.proof = await prove(ctx, op, input)
      return input
    }
  }

  #printError(error: unknown, incoming: Incoming): Response {
    const answer = toMatrixError(error)
    // What is no answer of its own is a fault of ours, or of what we stand on.
    if (answer !== error) this.#log(error, incoming)
    return printError(answer)
  }

  #log(error: unknown, { id, path }: Incoming): void {
    const { log } = this.#ctx
    // Whoever asks for a server that is not there could fill the log.
    if (error instanceof RemoteError)
      log.debug({ req: id, path, reason: String(error) }, 'another server failed')
    else if (isPassing(error))
      log.warn({ req: id, path, reason: String(error) }, 'a request was refused')
    else log.error({ req: id, path, err: error }, 'a request failed')
  }

  #record(incoming: Incoming, status: number, started: number, op: string, route: Route): void {
    const { log } = this.#ctx
    const tookMs = performance.now() - started
    count(route, status, tookMs)
    if (!log.isLevelEnabled('debug')) return
    const ms = Math.round(tookMs)
    log.debug({ req: incoming.id, op, method: incoming.method, path: incoming.path, status, ms })
  }
}

/** An application service may be free of limits; its sender always is. So may a user. */
function isLimited(who: Auths[Auth]): boolean {
  if (who !== null && 'ownLimit' in who && who.ownLimit?.perSecond === 0) return false
  if (who === null || !('appservice' in who) || !who.appservice) return true
  return who.appservice.rateLimited && who.userId !== who.appservice.sender
}

/** What a user of whom an administrator thinks otherwise than of the others may send. */
function ownBudget(limit: LimitClass, who: Auths[Auth]): Budget | undefined {
  if (limit !== 'message' || who === null || !('ownLimit' in who) || !who.ownLimit) return undefined
  const { perSecond, burst } = who.ownLimit
  return { perSecond, burst: Math.max(1, burst) }
}

/** The user, the server, or else the address that a call is counted against. */
function limitKey(who: Auths[Auth], incoming: Incoming): string {
  if (who === null) return incoming.address
  return 'userId' in who ? who.userId : who.origin
}

/** The router decodes parameters, and leaves null where that fails. PostgreSQL refuses a NUL. */
function requireDecoded(params: Params | undefined, incoming: Incoming): void {
  if (!incoming.uri.includes('%')) return
  // A path without parameters has none, not an empty object.
  for (const [name, text] of Object.entries(params ?? {}))
    if (text === null || text.includes('\0'))
      throw invalidParam(`'${name}' in the path is not percent-encoded UTF-8`)
}

const jsonHeaders = { ...corsHeaders, 'content-type': 'application/json' }

function print(result: unknown): Response {
  if (!(result instanceof Reply))
    return new Response(JSON.stringify(result), { headers: jsonHeaders })
  const { status, body, headers } = result
  return new Response(body, { status, headers: { ...corsHeaders, ...headers } })
}

function printError(error: MatrixError): Response {
  const wait = error.extra['retry_after_ms']
  return new Response(JSON.stringify(error), {
    status: error.status,
    headers:
      typeof wait === 'number'
        ? { ...jsonHeaders, 'retry-after': String(Math.ceil(wait / 1000)) }
        : jsonHeaders,
  })
}

import { MatrixError, RemoteError } from '#core/error.ts'
import { parseServerName } from '#core/ids.ts'
import { MultipartFault } from '#core/multipart.ts'
import {
  answerTooLarge,
  failureOf,
  malformed,
  pathOf,
  queryOf,
  unreachable,
} from '#engine/federation/answer.ts'
import { Budget } from '#engine/federation/budget.ts'
import type { Client, Exchange } from '#engine/federation/client.ts'
import { type Dialer, TooLargeError, readAnswer } from '#engine/federation/dialer.ts'
import {
  type Elsewhere,
  type MediaFile,
  savePlain,
  saveParts,
} from '#engine/federation/media-file.ts'
import type { Download, Downloaded } from '#engine/federation/options.ts'
import type { OutgoingRequest } from '#engine/worker/protocol.ts'

export type DownloadsOptions = {
  client: Client
  dialer: Dialer
  /** Transfers under way at once, of all servers. */
  maxInFlight: number
  /** How long the beginning of an answer may take. */
  answerMs: number
}

/** What became of an exchange. A failure in the middle of the body says nothing of the server. */
type Outcome = { saved: Downloaded } | Elsewhere | { failure: RemoteError }

const maxErrorBytes = 64 * 1024
const maxRedirects = 3

/**
 * Fetches media of other servers, each to a file as it comes. Transfers have a budget of their own:
 * however long they take, other requests to the same server do not wait for them.
 */
export class Downloads {
  readonly #options: DownloadsOptions
  readonly #budget: Budget

  constructor(options: DownloadsOptions) {
    this.#options = options
    this.#budget = new Budget({
      perServer: 4,
      waitingPerServer: 100,
      total: options.maxInFlight,
      waitingTotal: 2_000,
    })
  }

  /** Transfers under way, and those that wait for a turn. */
  get counts(): { inFlight: number; waiting: number } {
    const { inFlight, waiting } = this.#budget
    return { inFlight, waiting }
  }

  /**
   * The media, from the server that it is of.
   *
   * Spec: server-server-api/#content-repository
   */
  async fetch(download: Download): Promise<Downloaded> {
    const { destination, mediaId, waitMs } = download
    const wait = ['timeout_ms', String(waitMs)] as const
    const path = pathOf('/_matrix/federation/v1/media/download', mediaId)
    const first = await this.#ask(download, { uri: path + queryOf([wait]) })
    if (!('failure' in first) || !isUnknownRoute(first.failure))
      return this.#settle(first, download)
    // Servers before v1.11. They must not ask yet another server for it.
    const old = pathOf('/_matrix/media/v3/download', destination, mediaId)
    const uri = old + queryOf([['allow_remote', 'false'], ['allow_redirect', 'true'], wait])
    return this.#settle(await this.#ask(download, { uri, unsigned: true }), download)
  }

  #ask(
    { destination, file: path, maxBytes, waitMs, transferMs }: Download,
    { uri, unsigned = false }: { uri: string; unsigned?: boolean },
  ): Promise<Outcome> {
    const request: OutgoingRequest = {
      destination,
      method: 'GET',
      uri,
      unsigned,
      deadlineMs: this.#options.answerMs + waitMs,
      maxBytes,
    }
    const exchange: Exchange<Outcome> = {
      budget: this.#budget,
      readMs: transferMs,
      isOwnFault: true,
      accept: unsigned ? '*/*' : 'multipart/mixed, application/json',
      read: (response) => outcomeOf(response, { path, maxBytes }, destination, !unsigned),
    }
    return this.#options.client.exchange(request, exchange)
  }

  async #settle(outcome: Outcome, download: Download): Promise<Downloaded> {
    if ('failure' in outcome) throw outcome.failure
    if ('saved' in outcome) return outcome.saved
    return this.#follow(outcome.location, download)
  }

  /**
   * Fetches from where another server sent us, which may be anywhere: over HTTPS, unsigned, and only
   * at addresses that may be dialled.
   */
  async #follow(location: string, download: Download): Promise<Downloaded> {
    const { destination, file: path, maxBytes, transferMs } = download
    const signal = AbortSignal.timeout(transferMs)
    let place = location
    for (let hops = 0; hops < maxRedirects; hops++) {
      const target = targetOf(place, destination)
      const request = { method: 'GET', uri: target.uri, headers: { accept: '*/*' } }
      const outcome = await this.#options.dialer
        .exchange(target, request, signal, (response) =>
          outcomeOf(response, { path, maxBytes }, destination, false),
        )
        .catch((error: unknown) => {
          throw remoteError(destination, error)
        })
      if (!('location' in outcome)) return this.#settle(outcome, download)
      place = URL.parse(outcome.location, place)?.href ?? ''
    }
    throw new RemoteError(destination, 200, malformed, 'It sends us from one place to the next')
  }
}

/**
 * Whether a server does not know a route. Not spec: that is a 404 with the code; servers of the time
 * before it, and proxies in front of them, answer with other statuses and without a code.
 */
const isUnknownRoute = ({ status, errcode }: RemoteError): boolean =>
  [400, 404, 405].includes(status) && (errcode === 'M_UNRECOGNIZED' || errcode === 'M_UNKNOWN')

/** Where a URL leads. */
function targetOf(location: string, destination: string) {
  const url = URL.parse(location)
  const to = url && parseServerName(url.host)
  if (!to || url.protocol !== 'https:' || url.username !== '')
    throw new RemoteError(destination, 200, malformed, 'It sends us to a place that is no good')
  const host = to.host.replace(/^\[|\]$/g, '')
  return {
    host,
    port: to.port ?? 443,
    hostHeader: url.host,
    certificateName: host,
    trusted: false,
    uri: url.pathname + url.search,
  }
}

async function outcomeOf(
  response: Response,
  file: MediaFile,
  destination: string,
  inParts: boolean,
): Promise<Outcome> {
  const { status, headers } = response
  try {
    const location = headers.get('location')
    if (!inParts && status >= 300 && status < 400 && location !== null) {
      await response.body?.cancel()
      return { location }
    }
    if (status !== 200) {
      const { body } = await readAnswer(response, maxErrorBytes)
      return { failure: failureOf(destination, { status, body }) }
    }
    // Not spec: some servers answer the new way as they did the old one, in one piece.
    const isPlain = !inParts || !/^multipart\//i.test(headers.get('content-type') ?? '')
    if (isPlain) return { saved: await savePlain(response, file) }
    const saved = await saveParts(response, file)
    return 'location' in saved ? saved : { saved }
  } catch (error) {
    return { failure: remoteError(destination, error) }
  }
}

/** Faults of our own, such as a full disk, stay what they are. */
function remoteError(destination: string, error: unknown): RemoteError {
  if (error instanceof RemoteError) return error
  if (error instanceof MatrixError || isOfDisk(error)) throw error
  const message = error instanceof Error ? error.message : String(error)
  if (error instanceof TooLargeError)
    return new RemoteError(destination, 200, answerTooLarge, message)
  if (error instanceof MultipartFault) return new RemoteError(destination, 200, malformed, message)
  return new RemoteError(destination, 0, unreachable, message)
}

const isOfDisk = (error: unknown): boolean =>
  error instanceof Error &&
  'syscall' in error &&
  ['open', 'write', 'fsync'].includes(String(error.syscall))

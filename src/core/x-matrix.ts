import { canonicalJson } from '#core/canonical-json.ts'
import { verifySignature } from '#core/ed25519.ts'
import { isServerName } from '#core/ids.ts'
import type { Json, JsonObject } from '#core/json.ts'
import type { SigningKey } from '#core/signing.ts'

/**
 * Signed requests between servers.
 *
 * Spec: server-server-api/#request-authentication
 */
export type SignedRequest = Readonly<{
  method: string
  /** Path and query exactly as sent, with their percent-encoding. */
  uri: string
  /** Server names as in IDs, before any delegation. */
  origin: string
  destination: string
  /** The parsed body; undefined if there is none. */
  content?: Json | undefined
  /** The body as it came: JSON, whether canonical or not. */
  text?: string | undefined
}>

/** What the signature of a request covers; undefined if the body has no canonical form. */
export function requestText(request: SignedRequest): string | undefined {
  const { method, uri, origin, destination, content } = request
  const signed: JsonObject = { destination, method, origin, uri }
  return canonicalJson(content === undefined ? signed : { content, ...signed }, 'tolerant')
}

/** The `Authorization` header of a request. */
export function authorizationHeader(request: SignedRequest, key: SigningKey): string {
  const text = requestText(request)
  if (text === undefined) throw new TypeError('The body has no canonical JSON form')
  const { origin, destination } = request
  return `X-Matrix origin="${origin}",destination="${destination}",key="${key.keyId}",sig="${key.sign(text)}"`
}

export type XMatrix = Readonly<{
  origin: string
  /** Absent from old servers; otherwise it must be our name, or the answer is 401. */
  destination: string | undefined
  keyId: string
  signature: string
}>

const scheme = /^x-matrix +/i
// A name, and a quoted text or a token; tokens may hold what old servers leave unquoted.
const parameter = /[ \t]*([!#$%&'*+.^_`|~\w-]+)=(?:"((?:[^"\\]|\\.)*)"|([^\s,"]*))[ \t]*(?:,|$)/y

/** Reads an `Authorization` header; undefined if it is no sound X-Matrix one. */
export function parseAuthorization(header: string): XMatrix | undefined {
  const start = scheme.exec(header)
  if (!start) return undefined
  const values = new Map<string, string>()
  parameter.lastIndex = start[0].length
  while (parameter.lastIndex < header.length) {
    const match = parameter.exec(header)
    if (!match) return undefined
    values.set(match[1]!.toLowerCase(), match[2]?.replace(/\\(.)/g, '$1') ?? match[3]!)
  }
  const origin = values.get('origin')
  const keyId = values.get('key')
  // The list of parameters says `signature`, the example and the network say `sig`.
  const signature = values.get('sig') ?? values.get('signature')
  if (origin === undefined || keyId === undefined || signature === undefined) return undefined
  if (!isServerName(origin) || !keyId.startsWith('ed25519:')) return undefined
  return { origin, destination: values.get('destination'), keyId, signature }
}

/**
 * Whether a request is signed as its header says, with this public key of the origin. Not spec: that
 * the body is canonical is no matter where the very bytes that came are signed, as nearly always.
 */
export function verifyRequest(
  request: SignedRequest,
  { signature }: XMatrix,
  publicKey: string,
): boolean {
  const asSent = request.text === undefined ? undefined : textAsSent(request, request.text)
  if (asSent !== undefined && verifySignature(publicKey, asSent, signature)) return true
  const text = requestText(request)
  return text !== undefined && text !== asSent && verifySignature(publicKey, text, signature)
}

/** What the signature covers if the body is canonical: `content` comes before all other keys. */
function textAsSent(request: SignedRequest, body: string): string | undefined {
  const rest = requestText({ ...request, content: undefined })
  return rest && `{"content":${body},${rest.slice(1)}`
}

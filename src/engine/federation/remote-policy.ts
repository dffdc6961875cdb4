import { parseJson } from '#core/canonical-json.ts'
import { RemoteError } from '#core/error.ts'
import { policyKeyId } from '#core/event/policy.ts'
import { isObject, type JsonObject } from '#core/json.ts'
import { failureOf, malformedAnswer } from '#engine/federation/answer.ts'
import type { Federation } from '#engine/worker/protocol.ts'

/**
 * What a policy server says of an event.
 *
 * Spec: server-server-api/#post_matrixpolicyv1sign
 */
export type PolicyAnswer =
  | Readonly<{ outcome: 'signed'; signature: string }>
  /** It does not sign the event, or does not know the room, or us. */
  | Readonly<{ outcome: 'refused'; error: RemoteError }>
  /** It has too much to do. */
  | Readonly<{ outcome: 'later'; error: RemoteError; retryAfterMs: number | undefined }>

/** A signature has some hundred bytes, and so has an error. */
const maxBytes = 64 * 1024

/** Asks a policy server for its signature of an event, JSON text. No answer, or a bad one, is a `RemoteError`. */
export async function askPolicyServerToSign(
  federation: Federation,
  via: string,
  event: string,
  deadlineMs: number,
): Promise<PolicyAnswer> {
  const answer = await federation.call('request', {
    destination: via,
    method: 'POST',
    uri: '/_matrix/policy/v1/sign',
    body: event,
    deadlineMs,
    maxBytes,
    // The caller has pauses of its own: a room waits.
    ignoreBackoff: true,
  })
  if (answer.status === 200) return signatureIn(via, parseJson(answer.body))
  const error = failureOf(via, answer)
  switch (answer.status) {
    case 400:
    case 403:
    case 404:
      return { outcome: 'refused', error }
    case 429:
      return { outcome: 'later', error, retryAfterMs: retryAfterOf(answer.body) }
    default:
      throw error
  }
}

function signatureIn(via: string, json: unknown): PolicyAnswer {
  if (!isObject(json)) throw malformedAnswer(via, 'is not a JSON object')
  const own: unknown = Object.hasOwn(json, via) ? json[via] : undefined
  const signature = isObject(own) ? (own as JsonObject)[policyKeyId] : undefined
  if (typeof signature !== 'string') throw malformedAnswer(via, 'holds no signature of its own')
  return { outcome: 'signed', signature }
}

function retryAfterOf(body: string): number | undefined {
  const json = parseJson(body)
  const ms = isObject(json) ? json['retry_after_ms'] : undefined
  return typeof ms === 'number' && ms > 0 ? ms : undefined
}

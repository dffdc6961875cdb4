import { isObject } from '#core/json.ts'
import { checkKeyDocument, type KeyDocument } from '#core/server-keys.ts'
import { verifyJson } from '#core/signing.ts'
import { askForObject, malformedAnswer, objectsOf } from '#engine/federation/answer.ts'
import type { Federation, WantedKey } from '#engine/worker/protocol.ts'

const maxBytes = 256 * 1024

/** A server's own word about its keys. */
export async function askServer(
  federation: Federation,
  server: string,
  deadlineMs: number,
): Promise<KeyDocument> {
  const answer = await askForObject(federation, {
    destination: server,
    method: 'GET',
    uri: '/_matrix/key/v2/server',
    deadlineMs,
    maxBytes,
    unsigned: true,
    // The keyring has its own patience. A server that was away is let in again by its keys.
    ignoreBackoff: true,
  })
  const document = checkKeyDocument(answer, server)
  if (typeof document === 'string') throw malformedAnswer(server, `is refused: ${document}`)
  return document
}

/** What a notary knows of a server's keys and has signed too, the longest-lived document last. */
export async function askNotary(
  federation: Federation,
  notary: string,
  notaryKeys: ReadonlyMap<string, string>,
  { server, keyIds, minimumValidUntilTs }: WantedKey,
  deadlineMs: number,
): Promise<KeyDocument[]> {
  const criteria = { minimum_valid_until_ts: minimumValidUntilTs }
  const answer = await askForObject(federation, {
    destination: notary,
    method: 'POST',
    uri: '/_matrix/key/v2/query',
    body: JSON.stringify({
      server_keys: { [server]: Object.fromEntries(keyIds.map((keyId) => [keyId, criteria])) },
    }),
    deadlineMs,
    maxBytes,
    unsigned: true,
  })
  const own = objectsOf(notary, answer, 'server_keys', 100).filter(
    (json) => isObject(json) && json['server_name'] === server,
  )
  const documents = own.flatMap((json) => {
    if (!verifyJson(json, notary, (keyId) => notaryKeys.get(keyId))) return []
    const document = checkKeyDocument(json, server)
    return typeof document === 'string' ? [] : [document]
  })
  if (own.length > 0 && documents.length === 0)
    throw malformedAnswer(notary, `has no well signed key document of ${server}`)
  return documents.sort((a, b) => a.validUntilTs - b.validUntilTs)
}

import { randomBytes } from 'node:crypto'
import { encodeBase64Url } from '#core/base64.ts'
import { invalidParam } from '#core/error.ts'
import { isServerName } from '#core/ids.ts'

/** An ID that nobody can guess. */
export const newMediaId = (): string => encodeBase64Url(randomBytes(18))

/**
 * Refuses what can be no `mxc://` URI: neither part may ever lead to another file.
 *
 * Spec: client-server-api/#content-repo-security-considerations
 */
export function requireMxc(serverName: string, mediaId: string): void {
  if (!isServerName(serverName)) throw invalidParam('The server of the media is no server name')
  if (!/^[A-Za-z0-9_-]{1,255}$/.test(mediaId))
    throw invalidParam('A media ID is of letters, digits, _ and - only')
}

/** The server and the ID of an `mxc://` URI. */
export function parseMxc(uri: string): { serverName: string; mediaId: string } | undefined {
  const match = /^mxc:\/\/([^/]+)\/([A-Za-z0-9_-]{1,255})$/.exec(uri)
  return match && isServerName(match[1]!)
    ? { serverName: match[1]!, mediaId: match[2]! }
    : undefined
}

export const mxcOf = (serverName: string, mediaId: string): string =>
  `mxc://${serverName}/${mediaId}`

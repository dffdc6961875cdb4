import type { EncryptedDevice } from './encrypted-person.ts'

/** Spec: client-server-api/#extensions-to-mroommessage-msgtypes */
export type EncryptedFile = {
  url: string
  key: Awaited<ReturnType<typeof exportKey>>
  iv: string
  hashes: { sha256: string }
  v: 'v2'
}

const cipher = { name: 'AES-CTR', length: 64 } as const

const exportKey = (key: CryptoKey) => crypto.subtle.exportKey('jwk', key)

/** Uploads a file as nobody can read it who does not get what is returned. */
export async function upload(
  { client }: EncryptedDevice,
  plain: Uint8Array<ArrayBuffer>,
): Promise<EncryptedFile> {
  const key = await crypto.subtle.generateKey({ name: 'AES-CTR', length: 256 }, true, [
    'encrypt',
    'decrypt',
  ])
  const counter = new Uint8Array(16)
  crypto.getRandomValues(counter.subarray(0, 8))
  const secret = await crypto.subtle.encrypt({ ...cipher, counter }, key, plain)
  const { content_uri: url } = await client.uploadContent(new Blob([secret]), {
    type: 'application/octet-stream',
    includeFilename: false,
  })
  return {
    url,
    key: await exportKey(key),
    iv: unpadded(counter),
    hashes: { sha256: unpadded(await crypto.subtle.digest('SHA-256', secret)) },
    v: 'v2',
  }
}

/** Downloads and decrypts a file that somebody has told of. */
export async function download(
  { client }: EncryptedDevice,
  file: EncryptedFile,
): Promise<Uint8Array> {
  const answer = await fetch(downloadUrl({ client }, file), {
    headers: { authorization: `Bearer ${client.getAccessToken()}` },
  })
  if (!answer.ok) throw new Error(`${answer.status} for ${file.url}: ${await answer.text()}`)
  const secret = await answer.arrayBuffer()
  if (unpadded(await crypto.subtle.digest('SHA-256', secret)) !== file.hashes.sha256)
    throw new Error('Not the file that was told of')
  const key = await crypto.subtle.importKey('jwk', file.key, 'AES-CTR', false, ['decrypt'])
  const counter = Buffer.from(file.iv, 'base64')
  return new Uint8Array(await crypto.subtle.decrypt({ ...cipher, counter }, key, secret))
}

export const downloadUrl = (
  { client }: Pick<EncryptedDevice, 'client'>,
  { url }: EncryptedFile,
): string => client.mxcUrlToHttp(url, undefined, undefined, undefined, false, true, true)!

const unpadded = (bytes: ArrayBuffer | Uint8Array) =>
  Buffer.from(bytes as ArrayBuffer)
    .toString('base64')
    .replace(/=+$/, '')

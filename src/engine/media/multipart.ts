import { randomBytes } from 'node:crypto'

export type MultipartAnswer = { contentType: string; body: ReadableStream<Uint8Array> }

/**
 * Media as another server gets it: two parts, of which the first would tell about it.
 *
 * Spec: server-server-api/#get_matrixfederationv1mediadownloadmediaid
 */
export function multipartOf(
  content: Blob,
  headers: Readonly<Record<string, string>>,
): MultipartAnswer {
  const boundary = randomBytes(18).toString('hex')
  const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`)
  const before = Buffer.from(
    `--${boundary}\r\nContent-Type: application/json\r\n\r\n{}\r\n--${boundary}\r\n${lines.join('')}\r\n`,
  )
  const after = Buffer.from(`\r\n--${boundary}--\r\n`)
  return {
    contentType: `multipart/mixed; boundary=${boundary}`,
    body: joined(before, content, after),
  }
}

/** Read as fast as it is taken. */
function joined(before: Uint8Array, content: Blob, after: Uint8Array): ReadableStream<Uint8Array> {
  const reader = content.stream().getReader()
  let isBegun = false
  return new ReadableStream({
    async pull(controller) {
      if (!isBegun) {
        isBegun = true
        controller.enqueue(before)
        return
      }
      const { done, value } = await reader.read()
      if (!done) {
        controller.enqueue(value)
        return
      }
      controller.enqueue(after)
      controller.close()
    },
    cancel: (reason) => reader.cancel(reason),
  })
}

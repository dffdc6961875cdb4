type Body = string | Uint8Array<ArrayBuffer> | Blob | ReadableStream | null

/** An answer that is not simply 200 and a value as JSON. */
export class Reply {
  readonly status: number
  readonly body: Body
  readonly headers: Readonly<Record<string, string>>

  constructor(status: number, body: Body, headers: Readonly<Record<string, string>> = {}) {
    this.status = status
    this.body = body
    this.headers = headers
  }
}

/** A value as JSON under another status, or with headers. */
export const json = (
  status: number,
  value: unknown,
  headers?: Readonly<Record<string, string>>,
): Reply => jsonText(JSON.stringify(value), status, headers)

/** JSON that is text already: answers that are put together from stored events. */
export const jsonText = (
  text: string,
  status = 200,
  headers?: Readonly<Record<string, string>>,
): Reply => new Reply(status, text, { 'content-type': 'application/json', ...headers })

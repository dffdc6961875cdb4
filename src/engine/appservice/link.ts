/** One request to an application service, by the path of the specification. */
export type Question = {
  method: 'GET' | 'POST'
  /** Behind `/_matrix/app/v1`; its parts are percent-encoded. */
  path: string
  /** With its question mark; '' for none. */
  query?: string
  /** JSON text. */
  body?: string
  /** Where it is asked when the first path is not known there: behind the address itself. */
  legacyPath?: string
  deadlineMs: number
}

export type LinkAnswer = { status: number; body: string }

/** No answer came: it is not there, or took too long. */
export class LinkError extends Error {
  readonly timedOut: boolean

  constructor(message: string, timedOut: boolean) {
    super(message)
    this.timedOut = timedOut
  }
}

/** The way to one application service. */
export type Link = {
  /** Whether it can be reached at all, as far as it is known. */
  readonly isUp: boolean
  /** Whether it took a transaction. Fails with a `LinkError`. */
  deliver(txnId: string, body: string): Promise<boolean>
  /** Asks it something. Fails with a `LinkError`. */
  ask(question: Question): Promise<LinkAnswer>
  stop(): void
}

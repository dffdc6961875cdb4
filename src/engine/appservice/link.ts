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

/** Why a transaction was not taken: it was answered so, or there was no answer. */
export type Fault = { kind: 'refused' | 'no_answer'; text: string }

/** Characters of what one says to a refusal that are kept for the operator. */
const maxText = 500

export const refusal = (text: string): Fault => ({ kind: 'refused', text: text.slice(0, maxText) })

/** The way to one application service. */
export type Link = {
  /** Whether it can be reached at all, as far as it is known. */
  readonly isUp: boolean
  /** Sends a transaction; undefined: it took it. Fails with a `LinkError`. */
  deliver(txnId: string, body: string): Promise<Fault | undefined>
  /** Asks it something. Fails with a `LinkError`. */
  ask(question: Question): Promise<LinkAnswer>
  stop(): void
}

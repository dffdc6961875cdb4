import type { Transporter } from 'nodemailer'
import { MatrixError, unavailable } from '#core/error.ts'

export type MailOptions = {
  host: string
  port: number
  /** `tls` from the beginning, `starttls` before anything is said, or neither. */
  security: 'tls' | 'starttls' | 'none'
  /** Trusted besides the usual authorities, PEM. */
  ca?: string[]
  user?: string
  password?: string
  from: string
  /** Told of what could not be sent. */
  onFault: (error: unknown) => void
}

export type Letter = {
  to: string
  subject: string
  text: string
  html?: string
  headers?: Record<string, string>
}

/** A server that says nothing for so long is given up. */
const patienceMs = 15_000
/** Letters that may be under way or wait for one of the two connections. */
const maxWaiting = 100

/** Sends e-mail by the operator's SMTP server, and answers when that has taken it. */
export class Mail {
  readonly #options: MailOptions
  #transport: Promise<Transporter> | undefined
  #waiting = 0

  constructor(options: MailOptions) {
    this.#options = options
  }

  /** Letters that are under way, or wait for a connection. */
  get waiting(): number {
    return this.#waiting
  }

  async send({ to, subject, text, html, headers }: Letter): Promise<void> {
    if (this.#waiting >= maxWaiting) throw unavailable('Too many e-mails wait to be sent', 5_000)
    this.#waiting++
    try {
      const transport = await (this.#transport ??= openTransport(this.#options))
      // As an object: the text of an address could name several.
      await transport.sendMail({
        from: this.#options.from,
        to: { name: '', address: to },
        subject,
        text,
        ...(html !== undefined && { html }),
        headers: { 'Auto-Submitted': 'auto-generated', ...headers },
      })
    } catch (error) {
      this.#options.onFault(error)
      throw new MatrixError(502, 'M_UNKNOWN', 'The e-mail could not be sent')
    } finally {
      this.#waiting--
    }
  }

  async close(): Promise<void> {
    const transport = await this.#transport
    transport?.close()
  }
}

/** Most servers send none: the library is loaded for the first letter. */
async function openTransport(options: MailOptions): Promise<Transporter> {
  const { host, port, security, ca, user, password } = options
  const { createTransport } = await import('nodemailer')
  return createTransport({
    pool: true,
    maxConnections: 2,
    host,
    port,
    secure: security === 'tls',
    requireTLS: security === 'starttls',
    ignoreTLS: security === 'none',
    connectionTimeout: patienceMs,
    greetingTimeout: patienceMs,
    socketTimeout: patienceMs,
    // What is sent is ours alone: nothing is read from files or fetched.
    disableFileAccess: true,
    disableUrlAccess: true,
    ...(ca && { tls: { ca } }),
    ...(user !== undefined && { auth: { user, pass: password ?? '' } }),
  })
}

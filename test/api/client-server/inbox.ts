import { afterAll } from 'bun:test'
import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { SMTPServer } from 'smtp-server'
import { Mail } from '#engine/user/mail.ts'
import { until } from '#test/until.ts'

export type Received = { to: string[]; text: string; subject: string }

/** An SMTP server on loopback, and what came to it. */
export class Inbox {
  readonly received: Received[] = []
  readonly faults: unknown[] = []
  readonly mail: Mail
  /** Refuses whatever comes, with this. */
  refusal: Error | undefined

  private constructor(server: SMTPServer) {
    const { port } = server.server.address() as AddressInfo
    this.mail = new Mail({
      host: '127.0.0.1',
      port,
      security: 'none',
      from: 'Test <matrix@here.example>',
      onFault: (error) => this.faults.push(error),
    })
  }

  /** Call it at the top of a test file: it is closed after the file's last test. */
  static async open(): Promise<Inbox> {
    const server: SMTPServer = new SMTPServer({
      disabledCommands: ['AUTH', 'STARTTLS'],
      logger: false,
      onData(stream, session, callback) {
        const chunks: Buffer[] = []
        stream.on('data', (chunk: Buffer) => chunks.push(chunk))
        stream.on('end', () => {
          if (inbox.refusal) return callback(inbox.refusal)
          inbox.received.push({
            to: session.envelope.rcptTo.map(({ address }) => address),
            ...readLetter(Buffer.concat(chunks).toString()),
          })
          callback()
        })
      },
    })
    server.listen(0, '127.0.0.1')
    await once(server.server, 'listening')
    const inbox = new Inbox(server)
    afterAll(async () => {
      await inbox.mail.close()
      await new Promise<void>((resolve) => server.close(resolve))
    })
    return inbox
  }

  /** The next letter; it is taken out. */
  async next(): Promise<Received> {
    await until(() => this.received.length > 0)
    return this.received.shift()!
  }

  /** What the link of the next letter says. */
  async nextLink(): Promise<URL> {
    const { text } = await this.next()
    const [link] = /https:\/\/\S+/.exec(text) ?? []
    if (link === undefined) throw new Error(`There is no link in: ${text}`)
    return new URL(link)
  }
}

function readLetter(raw: string): { subject: string; text: string } {
  const end = raw.indexOf('\r\n\r\n')
  const head = raw.slice(0, end).replace(/\r\n[ \t]/g, ' ')
  const body = raw.slice(end + 4)
  const text = /^content-transfer-encoding: quoted-printable$/im.test(head)
    ? body
        .replace(/=\r\n/g, '')
        .replace(/=([0-9A-F]{2})/g, (_, hex: string) => String.fromCharCode(parseInt(hex, 16)))
    : body
  return { subject: /^subject: (.*)$/im.exec(head)?.[1] ?? '', text }
}

import { expect, test } from 'bun:test'
import { discord } from '#importers/discord/discord.ts'
import type { Format } from '#importers/format.ts'
import { mattermost } from '#importers/mattermost/mattermost.ts'
import { slack } from '#importers/slack/slack.ts'
import type { Source } from '#importers/source.ts'
import { zulip } from '#importers/zulip/zulip.ts'

const messages = 6000
const piece = 64 * 1024

/** An export whose one large file is made while it is read, and which knows how far that is. */
class Growing implements Source {
  readonly path = 'growing'
  readonly entries
  /** Of the large file, in the pass that is under way. */
  read = 0
  readonly #small: Record<string, string>
  readonly #large: string
  readonly make: (at: number) => string
  readonly #around: [before: string, after: string]

  constructor(
    small: Record<string, string>,
    large: string,
    around: [string, string],
    make: (at: number) => string,
  ) {
    this.#small = small
    this.#large = large
    this.#around = around
    this.make = make
    this.entries = [...Object.keys(small), large].map((name) => ({ name, size: 1 }))
  }

  has(name: string): boolean {
    return this.entries.some((entry) => entry.name === name)
  }

  async head(name: string, size = 4096): Promise<Uint8Array> {
    for await (const chunk of this.open(name)) return chunk.subarray(0, size)
    return new Uint8Array(0)
  }

  async *open(name: string): AsyncGenerator<Uint8Array> {
    const encode = (text: string) => new TextEncoder().encode(text)
    if (name !== this.#large) {
      yield await Promise.resolve(encode(this.#small[name]!))
      return
    }
    this.read = 0
    let text = this.#around[0]
    for (let at = 0; at < messages; at++) {
      text += this.make(at)
      if (text.length < piece) continue
      this.read += text.length
      yield encode(text)
      text = ''
    }
    yield encode(text + this.#around[1])
  }

  close(): Promise<void> {
    return Promise.resolve()
  }
}

const filler = 'x'.repeat(400)
const comma = (at: number) => (at ? ',' : '')

const exports: [Format, Growing][] = [
  [
    slack,
    new Growing(
      { 'users.json': '[]', 'channels.json': '[{"id":"C1","name":"general"}]' },
      'general/2017-07-14.json',
      ['[', ']'],
      (at) =>
        `${comma(at)}{"type":"message","user":"U1","ts":"${1500000000 + at}.0001","text":"${filler}"}`,
    ),
  ],
  [
    discord,
    new Growing(
      {},
      'general.json',
      ['{"guild":{"id":"1"},"channel":{"id":"200"},"messages":[', `],"messageCount":${messages}}`],
      (at) =>
        `${comma(at)}{"id":"${1000000000000000000n + BigInt(at)}","content":"${filler}","author":{"id":"1"}}`,
    ),
  ],
  [
    mattermost,
    new Growing(
      {},
      'import.jsonl',
      ['{"type":"version","version":1}\n', ''],
      (at) =>
        `{"type":"post","post":{"team":"t","channel":"c","user":"u","message":"${filler}","create_at":${1600000000000 + at}}}\n`,
    ),
  ],
  [
    zulip,
    new Growing(
      {
        'realm.json':
          '{"zerver_stream":[{"id":1,"name":"g"}],"zerver_recipient":[{"id":1,"type":2,"type_id":1}]}',
      },
      'messages-000001.json',
      ['{"zerver_message":[', ']}'],
      (at) =>
        `${comma(at)}{"id":${at},"recipient":1,"sender":1,"subject":"t","content":"${filler}","date_sent":${1600000000 + at}}`,
    ),
  ],
]

test.each(exports)('messages of $name come while their file is read', async (format, source) => {
  const context = { options: {}, problem: () => {} }
  let count = 0
  let given = 0
  let ahead = 0
  for await (const item of format.read(source, context)) {
    if (item.kind !== 'message') continue
    given += source.make(count++).length
    ahead = Math.max(ahead, source.read - given)
  }
  expect(count).toBe(messages)
  expect(ahead).toBeLessThan(4 * piece)
})

import { canonicalJson, parseJson } from '#core/canonical-json.ts'
import { verifySignature } from '#core/ed25519.ts'
import { buildEvent } from '#core/event/build.ts'
import { parsePdu } from '#core/event/check.ts'
import { contentHash, eventIdOf, redactedText } from '#core/event/hash.ts'
import { receivePdu } from '#core/event/receive.ts'
import type { JsonObject } from '#core/json.ts'
import { roomVersions } from '#core/room-version.ts'
import type { ServerKey } from '#core/server-keys.ts'
import { signaturesOf, SigningKey } from '#core/signing.ts'
import { openBench } from './figures.ts'

const help = `
What the protocol core costs for one PDU of 771 bytes, in µs of wall time on one core: the median of
seven rounds. Every round parses the event anew, so that no text is hashed or scanned twice. Of one whose
keys are in order, of one whose keys are not, and of one that is not all ASCII.

  bun run bench core-event [--events 20000]
`

const bench = openBench('core-event', help, { events: 20_000 }, { events: 500 })

const version = roomVersions.get('11')!
const signing = { serverName: 'hs1.example.org', key: new SigningKey('a_ABCD', new Uint8Array(32)) }
const id = (name: string) => `$${name.padEnd(42, 'x')}A`
const proto = {
  roomId: '!abcdefghijklmnopqr:hs1.example.org',
  type: 'm.room.message',
  sender: '@alice:hs1.example.org',
  prevEvents: [id('prev')],
  authEvents: [id('create'), id('levels'), id('member')],
  depth: 1234,
  originServerTs: 1_700_000_000_000,
}

/** A message of exactly 771 bytes; `extra` goes into its body. */
function message(extra: string): string {
  const build = (body: string) => {
    const content = { body, 'm.mentions': {}, msgtype: 'm.text' }
    const built = buildEvent(version, { ...proto, content }, signing)
    if (built.outcome !== 'built') throw new Error(built.reason)
    return built.text
  }
  return build(extra + 'x'.repeat(771 - Buffer.byteLength(build(extra))))
}

/** The same JSON with every object's keys backwards. */
function backwards(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(backwards)
  if (typeof value !== 'object' || value === null) return value
  const entries = Object.entries(value).reverse()
  return Object.fromEntries(entries.map(([key, inner]) => [key, backwards(inner)]))
}

const ordered = message('')
const texts = {
  ordered,
  unsorted: JSON.stringify(backwards(JSON.parse(ordered))),
  emoji: message('\u{1f600}'),
}
const count = bench.options.events
/** Of what takes longer. */
const fewer = Math.ceil(count / 10)
const rounds = 7

/** Median µs of `step` per event. */
function measure(text: string, step: (event: JsonObject) => unknown, events = count): number {
  const times: number[] = []
  for (let round = 0; round <= rounds; round++) {
    const parsed = Array.from({ length: events }, () => JSON.parse(text) as JsonObject)
    const start = performance.now()
    for (const event of parsed) if (step(event) === undefined) throw new Error('no result')
    // The first round warms up.
    if (round > 0) times.push(((performance.now() - start) * 1000) / events)
  }
  return times.sort((a, b) => a - b)[rounds >> 1]!
}

const tell = (step: string, values: readonly number[]) =>
  bench.tell(
    step,
    values.map((value, index) => ({ name: Object.keys(texts)[index]!, value, unit: 'µs' })),
  )

const known: ServerKey = { publicKey: signing.key.publicKey, validUntilTs: Infinity, old: false }
const now = proto.originServerTs
const steps: Record<string, (event: JsonObject) => unknown> = {
  'canonical JSON': (event) => canonicalJson(event),
  'content hash + event ID': (event) => contentHash(version, event)! + eventIdOf(version, event)!,
  'parsePdu (format, sizes, event ID)': (event) => {
    const parsed = parsePdu(version, event)
    return 'ok' in parsed ? parsed.ok : undefined
  },
}

for (const [name, step] of Object.entries(steps))
  tell(
    name,
    Object.values(texts).map((text) => measure(text, step)),
  )

const parse = Object.values(texts).map((text) => {
  // As it comes: a slice of a transaction.
  const body = JSON.stringify(Array.from({ length: 50 }, () => JSON.parse(text) as JsonObject))
  return measure('{}', () => parseJson(body), Math.ceil(count / 50)) / 50
})
tell('parseJson, of 50 at once', parse)

const event = JSON.parse(ordered) as JsonObject
const [[, signature]] = signaturesOf(event, signing.serverName) as [[string, string]]
const signed = redactedText(version, event)!
tell('verify', [
  measure('{}', () => verifySignature(known.publicKey, signed, signature) || undefined, fewer),
])
tell('sign', [measure('{}', () => signing.key.sign(signed), fewer)])
const receive = (json: JsonObject) => {
  const received = receivePdu(version, json, { keys: () => known, now })
  return received.outcome === 'accept' && !received.redacted ? received : undefined
}
tell('receivePdu (with one verify)', [measure(ordered, receive, fewer)])
bench.chart('Of an event whose keys are in order', ['ordered'])
bench.finish()

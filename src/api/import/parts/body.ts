import { Type as t } from '@sinclair/typebox'
import { bodyFault, checker } from '#api/http/check.ts'
import { BodyBytes, type Held } from '#api/http/body-bytes.ts'
import type { Incoming } from '#api/http/incoming.ts'
import { badJson, notJson, tooLarge } from '#core/error.ts'
import { maxDepth, nestsDeeper } from '#core/import/record.ts'
import { Content, open, UserId } from '#core/schema.ts'

/** Not spec: what one batch may hold. */
export const maxRecords = 10_000
const maxBytes = 64 * 2 ** 20

/** Of all batches that are in memory, from the first byte to the answer: some wait for the owner of their room. */
export const allBatches = new BodyBytes(128 * 2 ** 20)

/** Somebody who speaks in a batch. */
export type Person = { user_id: string; displayname?: string | null; avatar_url?: string | null }

export type BatchBody = {
  people: readonly Person[]
  /** JSON texts: they are read by whoever makes events of them, one by one. */
  records: readonly string[]
}

const text = t.Optional(t.Union([t.String(), t.Null()]))
const PersonBody = open({ user_id: UserId, displayname: text, avatar_url: text })
const WholeBody = open({ people: t.Optional(t.Array(PersonBody)), records: t.Array(Content) })
const checkPerson = checker(PersonBody)
const checkWhole = checker(WholeBody)

/**
 * Reads a batch: one JSON value, or a line for each person and record. Only persons and the ends of lines
 * are looked at here.
 */
export async function readBatch(
  request: Incoming,
  { take }: Pick<Held, 'take'>,
): Promise<BatchBody> {
  const body = await readBody(request, take)
  const isLines = /ndjson|jsonl|x-json-stream/.test(request.headers.get('content-type') ?? '')
  const batch = isLines ? await readLines(body) : readWhole(body)
  if (batch.records.length > maxRecords || batch.people.length > maxRecords)
    throw tooLarge(`A batch may hold ${maxRecords} records`)
  return batch
}

async function readBody({ stream }: Incoming, take: (bytes: number) => void): Promise<string> {
  const chunks: Uint8Array[] = []
  let size = 0
  if (stream)
    for await (const chunk of stream) {
      size += chunk.length
      if (size > maxBytes) throw tooLarge(`A batch may have ${maxBytes} bytes: send a smaller one`)
      take(chunk.length)
      chunks.push(chunk)
    }
  try {
    return decoder.decode(chunks.length === 1 ? chunks[0] : Buffer.concat(chunks))
  } catch {
    throw notJson()
  }
}

const decoder = new TextDecoder('utf-8', { fatal: true })

function readWhole(body: string): BatchBody {
  const value = parse(body)
  const fault = checkWhole(value)
  if (fault) throw bodyFault(fault)
  const { people = [], records } = value as { people?: Person[]; records: unknown[] }
  return { people, records: records.map((record) => JSON.stringify(record)) }
}

/** Lines between which other requests get their turn. */
const perStep = 250

async function readLines(body: string): Promise<BatchBody> {
  const people: Person[] = []
  const records: string[] = []
  let count = 0
  for (let from = 0; from < body.length;) {
    const found = body.indexOf('\n', from)
    const end = found < 0 ? body.length : found
    // As the importer writes them, which is to be quick.
    if (body.startsWith(usual, from) && body[end - 1] === '}')
      records.push(body.slice(from + usual.length, end - 1))
    else {
      const line = body.slice(from, end).trim()
      const record = recordIn(line)
      if (record !== undefined) records.push(record)
      else if (line !== '') people.push(personIn(line))
    }
    from = end + 1
    if (++count % perStep === 0) await new Promise(setImmediate)
  }
  return { people, records }
}

const usual = '{"record":'

/** The record of a line, unread. */
function recordIn(line: string): string | undefined {
  const [start] = /^\{\s*"record"\s*:/.exec(line) ?? []
  return start && line.endsWith('}') ? line.slice(start.length, -1) : undefined
}

function personIn(line: string): Person {
  const value = parse(line)
  if (typeof value !== 'object' || value === null || !('person' in value))
    throw badJson('A line is neither a record nor a person')
  const fault = checkPerson(value.person)
  if (fault) throw bodyFault(fault)
  return value.person as Person
}

function parse(body: string): unknown {
  if (nestsDeeper(body, maxDepth)) throw badJson(`The body is nested deeper than ${maxDepth}`)
  try {
    return JSON.parse(body)
  } catch {
    throw notJson()
  }
}

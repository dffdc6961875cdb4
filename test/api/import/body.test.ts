import { describe, expect, test } from 'bun:test'
import { BodyBytes } from '#api/http/body-bytes.ts'
import type { Incoming } from '#api/http/incoming.ts'
import { readBatch } from '#api/import/parts/body.ts'

const batchOf = (text: string, type = 'application/json') =>
  ({
    stream: new Blob([text]).stream(),
    headers: new Headers({ 'content-type': type }),
  }) as unknown as Incoming

const refusal = async (reading: Promise<unknown>) => {
  const error = (await reading.catch((thrown: unknown) => thrown)) as { status: number }
  return error.status
}

describe('batches in memory', () => {
  const text = '{"people":[],"records":[{"src_id":"1"}]}'

  test('are counted from their first byte until they are answered', async () => {
    const bytes = new BodyBytes(text.length)
    const first = bytes.hold()
    expect((await readBatch(batchOf(text), first)).records).toEqual(['{"src_id":"1"}'])
    const second = bytes.hold()
    expect(await refusal(readBatch(batchOf(text), second))).toBe(503)
    first.release()
    expect((await readBatch(batchOf(text), second)).records).toHaveLength(1)
    second.release()
  })

  test('count no more when they could not be read', async () => {
    const bytes = new BodyBytes(text.length)
    const held = bytes.hold()
    expect(await refusal(readBatch(batchOf('{"records":'), held))).toBe(400)
    held.release()
    expect((await readBatch(batchOf(text), bytes.hold())).people).toEqual([])
  })
})

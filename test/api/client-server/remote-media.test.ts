import { beforeEach, describe, expect, test } from 'bun:test'
import { createHash } from 'node:crypto'
import { writeFile } from 'node:fs/promises'
import { MatrixError, RemoteError } from '#core/error.ts'
import type { Download, Downloaded } from '#engine/federation/options.ts'
import { testDatabase } from '#test/database.ts'
import { MediaHome } from './media-home.ts'

const db = await testDatabase()
const at = await MediaHome.open(db, { media: { max_remote_bytes: 5000 } })
const alice = await at.home.person('alice')
const path = (mediaId: string, more = '') =>
  `/_matrix/client/v1/media/download/other.test/${mediaId}${more}`
let count = 0

/** What the federation worker does with an answer. */
const give =
  (content: string, more: Partial<Downloaded> = {}) =>
  async ({ file }: Download): Promise<Downloaded> => {
    await writeFile(file, content)
    const sha256 = createHash('sha256').update(content).digest('hex')
    const { length: bytes } = Buffer.from(content)
    return { bytes, sha256, contentType: undefined, disposition: undefined, ...more }
  }

const fail = (status: number, errcode: string) => async (): Promise<Downloaded> => {
  throw new RemoteError('other.test', status, errcode, 'No')
}

let mediaId: string
beforeEach(() => {
  at.downloads.length = 0
  mediaId = `media-${++count}`
})

describe('media of another server', () => {
  test('is fetched once for all who want it, and given with its type and name', async () => {
    const held = Promise.withResolvers<void>()
    at.answer = async (download) => {
      await held.promise
      return give('cat', {
        contentType: 'image/png',
        disposition: `attachment; filename*=utf-8''c%C3%A4t.png; filename=cat.png`,
      })(download)
    }
    const all = Promise.all([1, 2, 3].map(() => at.ask(alice, path(mediaId))))
    while (at.downloads.length === 0) await Bun.sleep(1)
    held.resolve()
    for (const { status, bytes, headers } of await all) {
      expect({ status, text: bytes.toString() }).toEqual({ status: 200, text: 'cat' })
      expect(headers.get('content-type')).toBe('image/png')
      expect(headers.get('content-disposition')).toBe("inline; filename*=utf-8''c%C3%A4t.png")
    }
    await at.ask(alice, path(mediaId))
    expect(at.downloads).toMatchObject([
      { destination: 'other.test', mediaId, maxBytes: 5000, waitMs: 20_000 },
    ])
  })

  test('whose type is no type is of no type', async () => {
    at.answer = give('x', { contentType: 'text/html\u0001; x', disposition: 'inline; filename="' })
    const { headers } = await at.ask(alice, path(mediaId))
    expect(headers.get('content-type')).toBe('application/octet-stream')
    expect(headers.get('content-disposition')).toBe('attachment')
  })

  test('is told of in the words of the spec when it cannot be had', async () => {
    const cases: [error: ReturnType<typeof fail>, status: number, errcode: string][] = [
      [fail(404, 'M_NOT_FOUND'), 404, 'M_NOT_FOUND'],
      [fail(404, 'M_UNRECOGNIZED'), 404, 'M_NOT_FOUND'],
      [fail(504, 'M_NOT_YET_UPLOADED'), 504, 'M_NOT_YET_UPLOADED'],
      [fail(200, 'laneway.answer_too_large'), 502, 'M_TOO_LARGE'],
      [fail(502, 'M_TOO_LARGE'), 502, 'M_TOO_LARGE'],
      [fail(200, 'laneway.malformed_answer'), 502, 'M_UNKNOWN'],
      [fail(0, 'laneway.unreachable'), 504, 'M_UNKNOWN'],
      [fail(429, 'M_LIMIT_EXCEEDED'), 502, 'M_UNKNOWN'],
    ]
    for (const [index, [answer, status, errcode]] of cases.entries()) {
      at.answer = answer
      expect(await at.ask(alice, path(`${mediaId}-${index}`))).toMatchObject({
        status,
        body: { errcode },
      })
    }
    expect((await at.files()).incoming).toEqual([])
  })

  test('that cannot be had is not asked for again at once, but for what will be uploaded', async () => {
    at.answer = fail(404, 'M_NOT_FOUND')
    for (let each = 0; each < 3; each++) await at.ask(alice, path(mediaId))
    expect(at.downloads).toHaveLength(1)
    at.answer = fail(504, 'M_NOT_YET_UPLOADED')
    for (let each = 0; each < 3; each++) await at.ask(alice, path(`${mediaId}-later?timeout_ms=0`))
    expect(at.downloads).toHaveLength(4)
  })

  test('is not kept from anybody by a failure of our own', async () => {
    at.answer = async () => {
      throw new MatrixError(503, 'M_UNKNOWN', 'Busy', { retry_after_ms: 1 })
    }
    expect((await at.ask(alice, path(mediaId))).status).toBe(503)
    at.answer = give('x')
    expect((await at.ask(alice, path(mediaId))).status).toBe(200)
  })

  test('has thumbnails, which are too large in the words for other servers', async () => {
    const thumbnail = path(mediaId, '?width=32&height=32').replace('download', 'thumbnail')
    at.answer = give('no image')
    expect((await at.ask(alice, thumbnail)).status).toBe(400)
    at.answer = fail(200, 'laneway.answer_too_large')
    expect((await at.ask(alice, thumbnail.replace(mediaId, 'large'))).status).toBe(502)
  })

  test('that is quarantined is not given when it comes under another ID', async () => {
    const moderation = await import('#store/media/moderation.ts')
    at.answer = give('bad')
    await at.ask(alice, path(mediaId))
    const keys = [{ serverName: 'other.test', mediaId }]
    await moderation.quarantine(at.ctx.sql, keys, '@admin:x')
    expect((await at.ask(alice, path(mediaId))).status).toBe(404)
    expect((await at.ask(alice, path(`${mediaId}-again`))).status).toBe(404)
  })

  test('is fetched anew when its file is gone', async () => {
    at.answer = give('again')
    await at.ask(alice, path(mediaId))
    await at.ctx.mediaFiles.delete(createHash('sha256').update('again').digest('hex'))
    expect((await at.ask(alice, path(mediaId))).bytes.toString()).toBe('again')
    expect(at.downloads).toHaveLength(2)
  })
})

describe('what is kept of other servers', () => {
  const day = 24 * 3600_000
  const isKept = async (id: string) => {
    const before = at.downloads.length
    at.answer = fail(404, 'M_NOT_FOUND')
    const { status } = await at.ask(alice, path(id))
    return status === 200 && at.downloads.length === before
  }

  test('goes when nobody has asked for it for long', async () => {
    at.answer = give('old')
    await at.ask(alice, path(mediaId))
    at.home.now += 10 * day
    at.answer = give('young')
    await at.ask(alice, path(`${mediaId}-young`))
    await at.sweep({ keepFetchedMs: 5 * day })
    at.home.now += 2 * 3600_000
    await at.sweep()
    expect(await isKept(`${mediaId}-young`)).toBe(true)
    expect(await isKept(mediaId)).toBe(false)
    expect((await at.files()).finished).not.toContain(
      createHash('sha256').update('old').digest('hex'),
    )
  })

  test('goes where there is too much of it, what was used longest ago first (CVE-2024-37302)', async () => {
    await at.sweep({ keepFetchedMs: 1 })
    const ids = [1, 2, 3, 4].map((index) => `${mediaId}-${index}`)
    for (const id of ids) {
      at.home.now += day
      at.answer = give(id.padEnd(1000))
      await at.ask(alice, path(id))
    }
    await at.sweep({ maxFetchedBytes: 2500 })
    const kept = []
    for (const id of ids) kept.push(await isKept(id))
    expect(kept).toEqual([false, false, true, true])
  })
})

test('a server that talks to no other fetches nothing', async () => {
  const alone = await MediaHome.open(await testDatabase(), { federation: { enabled: false } })
  const bob = await alone.home.person('bob')
  expect((await alone.ask(bob, path(mediaId))).status).toBe(404)
  expect(alone.downloads).toEqual([])
})

import { describe, expect, test } from 'bun:test'
import { createHash } from 'node:crypto'
import { connect } from 'node:net'
import { testDatabase } from '#test/database.ts'
import { until } from '#test/until.ts'
import { MediaHome } from './media-home.ts'

const db = await testDatabase()
const limit = 200_000
const at = await MediaHome.open(db, {
  media: { max_upload_bytes: limit, max_pending_uploads: 2, pending_hours: 1 },
})
const server = at.ctx.serverName
const alice = await at.home.person('alice')
const bob = await at.home.person('bob')
const v1 = '/_matrix/client/v1/media'
const download = (mediaId: string, more = '') => `${v1}/download/${server}/${mediaId}${more}`
const sha256 = (bytes: Uint8Array | string) => createHash('sha256').update(bytes).digest('hex')
const random = (size: number) => crypto.getRandomValues(new Uint8Array(size))

describe('an upload', () => {
  test('is given back to others as it came, with headers that keep it from doing harm', async () => {
    const content = random(100_000)
    const mediaId = await at.upload(alice, content, { name: 'cat.png' })
    const { status, bytes, headers } = await at.ask(bob, download(mediaId))
    expect(status).toBe(200)
    expect(bytes.equals(content)).toBe(true)
    expect(Object.fromEntries(headers)).toMatchObject({
      'content-type': 'image/png',
      'content-length': '100000',
      'content-disposition': 'inline; filename=cat.png',
      'content-security-policy':
        "sandbox; default-src 'none'; script-src 'none'; plugin-types application/pdf; style-src 'unsafe-inline'; object-src 'self';",
      'cross-origin-resource-policy': 'cross-origin',
      'x-content-type-options': 'nosniff',
      'access-control-allow-origin': '*',
    })
    expect(headers.get('cache-control')).toContain('immutable')
  })

  test('may be empty', async () => {
    const mediaId = await at.upload(alice, '')
    expect(await at.ask(alice, download(mediaId))).toMatchObject({
      status: 200,
      bytes: Buffer.of(),
    })
  })

  test('may be as long as is allowed, and not one byte longer, whether it says so or not', async () => {
    await at.upload(alice, random(limit))
    const before = await at.files()
    const whole = random(limit + 1)
    const streamed = new ReadableStream({
      start(controller) {
        for (let from = 0; from < whole.length; from += 50_000)
          controller.enqueue(whole.subarray(from, from + 50_000))
        controller.close()
      },
    })
    for (const body of [whole, streamed])
      expect(
        await at.ask(alice, '/_matrix/media/v3/upload', { method: 'POST', body }),
      ).toMatchObject({ status: 413, body: { errcode: 'M_TOO_LARGE' } })
    expect(await at.files()).toEqual(before)
  })

  test('is stored once, however often it comes', async () => {
    const content = random(1000)
    const ids = [await at.upload(alice, content), await at.upload(bob, content)]
    expect(new Set(ids).size).toBe(2)
    const { finished } = await at.files()
    expect(finished.filter((name) => name === sha256(content))).toHaveLength(1)
  })

  test('that breaks off leaves nothing behind', async () => {
    const before = await at.files()
    const socket = connect(at.port, '127.0.0.1')
    socket.write(
      `POST /_matrix/media/v3/upload HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${alice.token}\r\n` +
        `Content-Length: 100000\r\n\r\n${'x'.repeat(50_000)}`,
    )
    await until(async () => (await at.files()).incoming.length > 0)
    socket.destroy()
    await until(async () => (await at.files()).incoming.length === 0)
    expect(await at.files()).toEqual(before)
  })

  test('needs a token', async () => {
    expect(
      await at.ask(undefined, '/_matrix/media/v3/upload', { method: 'POST', body: 'x' }),
    ).toMatchObject({ status: 401, body: { errcode: 'M_MISSING_TOKEN' } })
  })

  test('may be made at the addresses of old clients', async () => {
    for (const version of ['r0', 'v1'])
      expect(
        (await at.ask(alice, `/_matrix/media/${version}/upload`, { method: 'POST', body: 'x' }))
          .status,
      ).toBe(200)
  })
})

describe('what is said of a file', () => {
  const about = async (type: string, name?: string) => {
    const mediaId = await at.upload(alice, 'content', { type, ...(name !== undefined && { name }) })
    const { headers } = await at.ask(alice, download(mediaId))
    return [headers.get('content-type'), headers.get('content-disposition')]
  }

  test('decides whether a browser may show it', async () => {
    expect(await about('text/html')).toEqual(['text/html', 'attachment'])
    expect(await about('image/svg+xml')).toEqual(['image/svg+xml', 'attachment'])
    expect(await about('text/plain; charset=utf-8')).toEqual([
      'text/plain; charset=utf-8',
      'inline',
    ])
    expect(await about('IMAGE/PNG')).toEqual(['IMAGE/PNG', 'inline'])
    expect(await about('nonsense')).toEqual(['application/octet-stream', 'attachment'])
  })

  test('may be a name of any characters', async () => {
    const names: [name: string, disposition: string][] = [
      ['a;b\\c.png', 'attachment; filename="a;b\\\\c.png"'],
      ['a b; "c".txt', 'attachment; filename="a b; \\"c\\".txt"'],
      ['naïve – 🐱.png', "attachment; filename*=utf-8''na%C3%AFve%20%E2%80%93%20%F0%9F%90%B1.png"],
      ['../../etc/passwd', 'attachment; filename="../../etc/passwd"'],
      ['a\r\nSet-Cookie: x', 'attachment; filename="aSet-Cookie: x"'],
    ]
    for (const [name, disposition] of names)
      expect((await about('application/x-any', name))[1]).toBe(disposition)
  })

  test('may be another name for once', async () => {
    const mediaId = await at.upload(alice, 'content', { name: 'a.png' })
    const { headers } = await at.ask(alice, download(mediaId, `/${encodeURIComponent('b c.png')}`))
    expect(headers.get('content-disposition')).toBe('inline; filename="b c.png"')
  })
})

describe('a download', () => {
  test('may be of a part', async () => {
    const mediaId = await at.upload(alice, 'abcdefgh')
    const headers = { range: 'bytes=2-4' }
    const answer = await at.ask(alice, download(mediaId), { headers })
    expect(answer.status).toBe(206)
    expect(answer.bytes.toString()).toBe('cde')
    expect(answer.headers.get('content-range')).toBe('bytes 2-4/8')
  })

  test('is not needed by who has it', async () => {
    const mediaId = await at.upload(alice, 'abcdefgh')
    const etag = (await at.ask(alice, download(mediaId))).headers.get('etag')!
    expect(
      await at.ask(alice, download(mediaId), { headers: { 'if-none-match': `"x", W/${etag}` } }),
    ).toMatchObject({ status: 304, bytes: Buffer.of() })
  })

  test('of what is not there says so', async () => {
    expect(await at.ask(alice, download('unknown'))).toMatchObject({
      status: 404,
      body: { errcode: 'M_NOT_FOUND' },
    })
  })

  test('never leads to another file (CVE-2021-41281)', async () => {
    const paths = [
      `${v1}/download/${server}/..%2f..%2fetc%2fpasswd`,
      `${v1}/download/${server}/a%00b`,
      `${v1}/download/..%2f..%2fetc/passwd`,
      `${v1}/download/a%2fb/passwd`,
      `${v1}/thumbnail/${server}/..%2f..%2fetc%2fpasswd?width=1&height=1`,
      `/_matrix/media/v3/download/${server}/..%2f..%2fetc%2fpasswd`,
    ]
    for (const path of paths)
      expect(await at.ask(alice, path)).toMatchObject({
        status: 400,
        body: { errcode: 'M_INVALID_PARAM' },
      })
  })

  test('of what is quarantined is refused, also under another ID and when it comes again', async () => {
    const moderation = await import('#store/media/moderation.ts')
    const content = random(100)
    const first = await at.upload(alice, content)
    const second = await at.upload(bob, content)
    const keys = [{ serverName: server, mediaId: first }]
    expect(await moderation.quarantine(at.ctx.sql, keys, '@admin:x')).toBe(1)
    const third = await at.upload(bob, content)
    for (const mediaId of [first, second, third])
      expect((await at.ask(alice, download(mediaId))).status).toBe(404)
    await moderation.release(at.ctx.sql, keys)
    for (const mediaId of [first, second, third])
      expect((await at.ask(alice, download(mediaId))).status).toBe(200)
  })
})

describe('an ID that is made before its content', () => {
  const create = async (who = alice) => {
    const { status, body } = await at.ask(who, '/_matrix/media/v1/create', { method: 'POST' })
    return { status, body, mediaId: String(body.content_uri).split('/').at(-1)! }
  }
  const put = (who: typeof alice, mediaId: string, body = 'later', name = server) =>
    at.ask(who, `/_matrix/media/v3/upload/${name}/${mediaId}?filename=a.txt`, {
      method: 'PUT',
      body,
      headers: { 'content-type': 'text/plain' },
    })

  test('is good for an hour, and gets its content once', async () => {
    const { body, mediaId } = await create()
    expect(body).toEqual({
      content_uri: `mxc://${server}/${mediaId}`,
      unused_expires_at: at.home.now + 3600_000,
    })
    expect(await put(alice, mediaId)).toMatchObject({ status: 200, body: {} })
    const { bytes, headers } = await at.ask(bob, download(mediaId))
    expect(bytes.toString()).toBe('later')
    expect(headers.get('content-disposition')).toBe('inline; filename=a.txt')
    expect(await put(alice, mediaId)).toMatchObject({
      status: 409,
      body: { errcode: 'M_CANNOT_OVERWRITE_MEDIA' },
    })
  })

  test('gets one content of two that come at once', async () => {
    const { mediaId } = await create()
    const both = await Promise.all([put(alice, mediaId, 'one'), put(alice, mediaId, 'two')])
    expect(new Set(both.map(({ status }) => status))).toEqual(new Set([200, 409]))
  })

  test('is the own of who has made it', async () => {
    const { mediaId } = await create()
    expect(await put(bob, mediaId)).toMatchObject({ status: 403, body: { errcode: 'M_FORBIDDEN' } })
    expect((await put(alice, mediaId)).status).toBe(200)
  })

  test('must have been made here', async () => {
    expect((await put(alice, 'never')).status).toBe(404)
    expect((await put(alice, 'never', 'x', 'other.test')).status).toBe(404)
    expect((await put(alice, '..%2f..')).status).toBe(400)
  })

  test('is waited for, and told of when it does not come', async () => {
    const { mediaId } = await create()
    const waiting = at.ask(bob, download(mediaId, '?timeout_ms=100000'))
    expect(await at.ask(bob, download(mediaId, '?timeout_ms=0'))).toMatchObject({
      status: 504,
      body: { errcode: 'M_NOT_YET_UPLOADED' },
    })
    await put(alice, mediaId)
    expect((await waiting).bytes.toString()).toBe('later')
  })

  test('is one of a few, until it is used or its time is over', async () => {
    const carol = await at.home.person('carol')
    const first = await create(carol)
    await create(carol)
    expect(await create(carol)).toMatchObject({
      status: 429,
      body: { errcode: 'M_LIMIT_EXCEEDED' },
    })
    await put(carol, first.mediaId)
    const third = await create(carol)
    expect(third.status).toBe(200)
    at.home.now += 3600_000
    expect((await put(carol, third.mediaId)).status).toBe(404)
    expect((await at.ask(bob, download(third.mediaId))).status).toBe(404)
    expect((await create(carol)).status).toBe(200)
  })
})

describe('the deprecated addresses', () => {
  test('give nobody what is new (CVE-2024-37303)', async () => {
    const mediaId = await at.upload(alice, 'new')
    const places = [
      `download/${server}/${mediaId}`,
      `download/${server}/${mediaId}/name`,
      `thumbnail/${server}/${mediaId}?width=32&height=32`,
      `download/other.test/abc`,
      `download/other.test/abc?allow_remote=false`,
    ]
    for (const version of ['v3', 'r0'])
      for (const place of places)
        expect(await at.ask(undefined, `/_matrix/media/${version}/${place}`)).toMatchObject({
          status: 404,
          body: { errcode: 'M_NOT_FOUND' },
        })
    expect(at.downloads).toEqual([])
  })

  test('give everybody what was there before the freeze', async () => {
    const mediaId = await at.upload(alice, 'old')
    await at.ctx.sql`
      update media set created_at = ${Date.parse('2024-10-06T23:59:59Z')}
      where media_id = ${mediaId}`
    const path = `/_matrix/media/v3/download/${server}/${mediaId}`
    expect((await at.ask(undefined, path)).bytes.toString()).toBe('old')
    expect((await at.ask(undefined, `${path}/b.png`)).headers.get('content-disposition')).toBe(
      'inline; filename=b.png',
    )
  })
})

test('the limit is told', async () => {
  for (const path of [`${v1}/config`, '/_matrix/media/v3/config'])
    expect((await at.ask(alice, path)).body).toEqual({ 'm.upload.size': limit })
})

describe('the sweep', () => {
  test('takes away the file of what is deleted when nothing else holds it, and no other', async () => {
    const moderation = await import('#store/media/moderation.ts')
    const content = random(100)
    const ids = [await at.upload(alice, content), await at.upload(bob, content)]
    const keys = ids.map((mediaId) => ({ serverName: server, mediaId }))
    const isThere = async () => (await at.files()).finished.includes(sha256(content))
    const hour = 3600_000
    await moderation.remove(at.ctx.sql, keys.slice(0, 1), at.home.now)
    at.home.now += 2 * hour
    await at.sweep()
    expect(await isThere()).toBe(true)
    expect((await at.ask(alice, download(ids[1]!))).status).toBe(200)
    await moderation.remove(at.ctx.sql, keys, at.home.now)
    await at.sweep()
    expect(await isThere()).toBe(false)
    expect((await at.ask(alice, download(ids[1]!))).status).toBe(404)
  })

  test('leaves what is being uploaded', async () => {
    const content = random(100)
    const mediaId = await at.upload(alice, content)
    const moderation = await import('#store/media/moderation.ts')
    await moderation.remove(at.ctx.sql, [{ serverName: server, mediaId }], at.home.now)
    await at.sweep()
    // It was announced for an hour: another upload of the same content may be under way.
    expect((await at.files()).finished).toContain(sha256(content))
    at.home.now += 3600_000
    await at.sweep()
    expect((await at.files()).finished).not.toContain(sha256(content))
  })
})

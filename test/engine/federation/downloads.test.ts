import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'bun:test'
import { createHash } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { RemoteError } from '#core/error.ts'
import { parseAuthorization } from '#core/x-matrix.ts'
import type { FederationEngine } from '#engine/federation/engine.ts'
import type { Download, FederationOptions } from '#engine/federation/options.ts'
import { testDatabase } from '#test/database.ts'
import { newFolder } from '#test/folder.ts'
import { patienceMs } from '#test/until.ts'
import { Authority, type Handler, Peer, startEngine, testOptions } from './peers.ts'

const db = await testDatabase()
let authority: Authority
let peer: Peer
let elsewhere: Peer
let engine: FederationEngine
let folder: string

const restart = async (options: Partial<FederationOptions> = {}) => {
  await engine?.stop()
  await db.pool`delete from destinations`
  engine = await startEngine(
    db.pool,
    testOptions('here.test', { peers: [peer], authority }, options),
  )
}

beforeAll(async () => {
  authority = await Authority.make()
  const certificate = await authority.certify('peer.test', '127.0.0.1')
  peer = new Peer('peer.test', '127.0.0.1', certificate)
  elsewhere = new Peer('elsewhere.test', '127.0.0.1', certificate)
  folder = await newFolder('downloads')
})
beforeEach(async () => {
  peer.seen.length = 0
  elsewhere.seen.length = 0
  elsewhere.answer = () => new Response('moved', { headers: { 'content-type': 'text/x-moved' } })
  await restart()
})
afterAll(async () => {
  await engine.stop()
  await peer.stop()
  await elsewhere.stop()
  await authority.remove()
})

const file = () => join(folder, 'file')
const fetchIt = (more: Partial<Download> = {}) =>
  engine.downloads.fetch({
    destination: 'peer.test',
    mediaId: 'abc',
    file: file(),
    maxBytes: 1000,
    waitMs: 1000,
    transferMs: patienceMs,
    ...more,
  })

const multipart = { 'content-type': 'multipart/mixed; boundary=gap' }
const first = '--gap\r\nContent-Type: application/json\r\n\r\n{}\r\n'
const partsOf = (second: string) => `${first}--gap\r\n${second}\r\n--gap--`
const answer =
  (body: string): Handler =>
  () =>
    new Response(body, { headers: multipart })

async function failure(more: Partial<Download> = {}): Promise<string> {
  const error = await fetchIt(more).then(
    () => undefined,
    (thrown: unknown) => thrown,
  )
  if (!(error instanceof RemoteError)) throw new Error(`no RemoteError: ${String(error)}`)
  return `${error.status} ${error.errcode}`
}

describe('media of another server', () => {
  test('is asked for by a signed request, and written to the file with its hash', async () => {
    peer.answer = answer(
      partsOf(
        'Content-Type: image/png\r\nContent-Disposition: inline; filename=a.png\r\n\r\nbytes',
      ),
    )
    expect(await fetchIt()).toEqual({
      bytes: 5,
      sha256: createHash('sha256').update('bytes').digest('hex'),
      contentType: 'image/png',
      disposition: 'inline; filename=a.png',
    })
    expect(await readFile(file(), 'utf8')).toBe('bytes')
    expect(peer.seen.map(({ uri }) => uri)).toEqual([
      '/_matrix/federation/v1/media/download/abc?timeout_ms=1000',
    ])
    expect(parseAuthorization(peer.seen[0]!.authorization!)?.origin).toBe('here.test')
  })

  test('may come in one piece, which may be packed on its way', async () => {
    const packed = Bun.gzipSync(Buffer.from('whole'))
    const headers = { 'content-type': 'text/plain', 'content-encoding': 'gzip' }
    peer.answer = () => new Response(packed, { headers })
    expect(await fetchIt()).toMatchObject({ bytes: 5, contentType: 'text/plain' })
  })

  test('may be empty, and need not say what it is', async () => {
    peer.answer = answer(partsOf('\r\n'))
    expect(await fetchIt()).toMatchObject({ bytes: 0, contentType: undefined })
  })

  test('is asked for in the old way, unsigned and not of a third server, where the new way is unknown', async () => {
    peer.answer = ({ uri }) =>
      uri.startsWith('/_matrix/media/v3/')
        ? new Response('old', { headers: { 'content-type': 'text/plain' } })
        : Response.json({ errcode: 'M_UNRECOGNIZED', error: '' }, { status: 404 })
    expect(await fetchIt()).toMatchObject({ bytes: 3, contentType: 'text/plain' })
    const { uri, authorization } = peer.seen[1]!
    expect({ uri, authorization }).toEqual({
      uri: '/_matrix/media/v3/download/peer.test/abc?allow_remote=false&allow_redirect=true&timeout_ms=1000',
      authorization: null,
    })
  })

  test('is asked for in the old way where a proxy does not know the new one', async () => {
    for (const status of [400, 404, 405]) {
      peer.answer = ({ uri }) =>
        uri.startsWith('/_matrix/media/v3/')
          ? new Response('old')
          : new Response('page not found', { status })
      expect(await fetchIt()).toMatchObject({ bytes: 3 })
    }
  })

  test('is not asked for in the old way when it is not there', async () => {
    peer.answer = () => Response.json({ errcode: 'M_NOT_FOUND', error: '' }, { status: 404 })
    expect(await failure()).toBe('404 M_NOT_FOUND')
    expect(peer.seen).toHaveLength(1)
  })

  test('that is not yet uploaded does not make its server one that is down', async () => {
    peer.answer = () => Response.json({ errcode: 'M_NOT_YET_UPLOADED', error: '' }, { status: 504 })
    expect(await failure()).toBe('504 M_NOT_YET_UPLOADED')
    expect(await failure()).toBe('504 M_NOT_YET_UPLOADED')
  })
})

describe('an answer that is wrong', () => {
  const bad: [what: string, body: string][] = [
    ['has three parts', partsOf('\r\na\r\n--gap\r\n\r\nb')],
    ['has one part', `${first}--gap--`],
    ['ends in the middle', partsOf('\r\nabc').slice(0, -9)],
    ['begins with something else than JSON', partsOf('\r\na').replace('application/json', 'x/y')],
    ['is shorter than it says', partsOf('Content-Length: 10\r\n\r\nabc')],
    ['is longer than it says', partsOf('Content-Length: 1\r\n\r\nabc')],
    ['has a first part without an end', first.replace('{}', ' '.repeat(100_000))],
  ]
  for (const [what, body] of bad)
    test(`because it ${what} is refused, and its server is asked again`, async () => {
      peer.answer = answer(body)
      expect(await failure()).toBe('200 laneway.malformed_answer')
      expect(await failure()).toBe('200 laneway.malformed_answer')
    })

  test('because its parts have no boundary is refused', async () => {
    peer.answer = () => new Response('x', { headers: { 'content-type': 'multipart/mixed' } })
    expect(await failure()).toBe('200 laneway.malformed_answer')
  })

  test('because it never ends is read no further than it may be long', async () => {
    let sent = 0
    peer.answer = () =>
      new Response(
        new ReadableStream({
          start: (controller) => controller.enqueue(Buffer.from(`${first}--gap\r\n\r\n`)),
          pull(controller) {
            sent += 65_536
            controller.enqueue(Buffer.alloc(65_536))
          },
        }),
        { headers: multipart },
      )
    expect(await failure({ maxBytes: 100_000 })).toBe('200 laneway.answer_too_large')
    expect(sent).toBeLessThan(50_000_000)
  })

  test('because it stops coming is given up after its time', async () => {
    peer.answer = () =>
      new Response(
        new ReadableStream({
          start: (controller) => controller.enqueue(Buffer.from(`${first}--gap\r\n\r\nabc`)),
        }),
        { headers: multipart },
      )
    expect(await failure({ transferMs: 300 })).toBe('0 laneway.unreachable')
  })
})

describe('media that is elsewhere', () => {
  const location = (url: string) => answer(partsOf(`Location: ${url}\r\n\r\n`))
  const there = (path = '/there') => `https://127.0.0.1:${elsewhere.port}${path}`

  test('is fetched from there, unsigned', async () => {
    peer.answer = location(there('/there?x=1'))
    expect(await fetchIt()).toMatchObject({ bytes: 5, contentType: 'text/x-moved' })
    expect(elsewhere.seen).toMatchObject([{ uri: '/there?x=1', authorization: null }])
  })

  test('is followed from place to place, and not for ever', async () => {
    peer.answer = location(there('/1'))
    elsewhere.answer = ({ uri }) =>
      uri === '/1'
        ? new Response(null, { status: 302, headers: { location: '/2' } })
        : new Response('moved')
    expect(await fetchIt()).toMatchObject({ bytes: 5 })
    elsewhere.answer = () => new Response(null, { status: 302, headers: { location: there() } })
    expect(await failure()).toBe('200 laneway.malformed_answer')
  })

  test('is not fetched from an address that may not be dialled', async () => {
    await restart({ blockedRanges: ['127.0.0.0/8'] })
    peer.answer = location(there())
    expect(await failure()).toBe('0 laneway.unreachable')
    expect(elsewhere.seen).toEqual([])
  })

  test('is fetched over HTTPS only', async () => {
    for (const url of [
      there().replace('https', 'http'),
      'file:///etc/passwd',
      there().replace('//', '//user@'),
      '/no/place',
    ]) {
      peer.answer = location(url)
      expect(await failure()).toBe('200 laneway.malformed_answer')
    }
    expect(elsewhere.seen).toEqual([])
  })
})

test('long transfers leave other requests to the same server their turn', async () => {
  const held = Promise.withResolvers<void>()
  peer.answer = async (request) => {
    if (!request.uri.includes('/media/')) return peer.usual(request)
    await held.promise
    return new Response(partsOf('\r\nx'), { headers: multipart })
  }
  const downloads = Array.from({ length: 12 }, (_, index) =>
    fetchIt({ file: join(folder, `file${index}`), waitMs: patienceMs }),
  )
  const { status } = await engine.request({
    destination: 'peer.test',
    method: 'GET',
    uri: '/_matrix/key/v2/server',
    deadlineMs: patienceMs,
    maxBytes: 100_000,
  })
  expect(status).toBe(200)
  held.resolve()
  expect(await Promise.all(downloads)).toHaveLength(12)
})

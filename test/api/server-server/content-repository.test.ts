import { describe, expect, test } from 'bun:test'
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import sharp from 'sharp'
import * as moderation from '#store/media/moderation.ts'
import { type Person, twoHomes } from './two-homes.ts'

const names = ['a.media.test', 'b.media.test'] as const
const homes = await twoHomes(names)
const alice = await homes[0].person('alice')
const bob = await homes[1].person('bob')

const upload = async (content: string | Uint8Array<ArrayBuffer>, type: string, name?: string) => {
  const query = name === undefined ? '' : `?filename=${encodeURIComponent(name)}`
  const response = await alice.fetch(`/_matrix/media/v3/upload${query}`, {
    method: 'POST',
    body: content,
    headers: { 'content-type': type },
  })
  expect(response.status).toBe(200)
  const { content_uri: uri } = (await response.json()) as { content_uri: string }
  return uri.slice('mxc://'.length)
}
const download = (who: Person, mxc: string, more = '') =>
  who.fetch(`/_matrix/client/v1/media/download/${mxc}${more}`)

/** What lies on the disk of a server. */
const filesOf = async (home: 0 | 1) => {
  const folder = join(homes[home].context.config.data_dir, 'media')
  const paths = await readdir(folder, { recursive: true })
  return {
    incoming: paths.filter((path) => path.startsWith('incoming/')),
    finished: paths.filter((path) => /^files\/.*\w{64}$/.test(path)),
  }
}

describe('media that is uploaded on one server', () => {
  test('is had on the other, byte for byte, with its type and name', async () => {
    const content = new Uint8Array(5_000_000)
    for (let from = 0; from < content.length; from += 50_000)
      crypto.getRandomValues(content.subarray(from, from + 50_000))
    const mxc = await upload(content, 'video/mp4', 'löwe;1.mp4')
    const responses = await Promise.all([download(bob, mxc), download(bob, mxc)])
    for (const response of responses) {
      expect(response.status).toBe(200)
      expect(response.headers.get('content-type')).toBe('video/mp4')
      expect(response.headers.get('content-disposition')).toBe(
        "inline; filename*=utf-8''l%C3%B6we%3B1.mp4",
      )
      expect(Buffer.from(await response.arrayBuffer()).equals(content)).toBe(true)
    }
    expect((await filesOf(1)).incoming).toEqual([])
  })

  test('may be empty, and may look like the end of its own wrapping', async () => {
    for (const content of ['', '\r\n', '--', '\r\n--x--\r\n', `\r\n--${'0'.repeat(36)}--\r\n`]) {
      const mxc = await upload(content, 'text/plain')
      expect(await (await download(bob, mxc)).text()).toBe(content)
    }
  })

  test('is kept once where it is uploaded there too', async () => {
    const before = (await filesOf(1)).finished.length
    const mxc = await upload('the same', 'text/plain')
    await download(bob, mxc)
    await bob.fetch('/_matrix/media/v3/upload', { method: 'POST', body: 'the same' })
    expect((await filesOf(1)).finished.length).toBe(before + 1)
  })

  test('and quarantined there is not had on the other', async () => {
    const mxc = await upload('hidden from all', 'text/plain')
    const [serverName, mediaId] = mxc.split('/') as [string, string]
    const { sql } = homes[0].context
    await moderation.quarantine(sql, [{ serverName, mediaId }], '@root:a.media.test')
    for (const who of [alice, bob]) expect((await download(who, mxc)).status).toBe(404)
    await moderation.release(sql, [{ serverName, mediaId }])
    expect((await download(alice, mxc)).status).toBe(200)
  })

  test('has thumbnails on the other', async () => {
    const image = await sharp({
      create: { width: 400, height: 300, channels: 3, background: 'green' },
    })
      .png()
      .toBuffer()
    const mxc = await upload(new Uint8Array(image), 'image/png')
    const path = `/_matrix/client/v1/media/thumbnail/${mxc}?width=96&height=96&method=crop`
    const response = await bob.fetch(path)
    expect(response.status).toBe(200)
    const { width, height } = await sharp(Buffer.from(await response.arrayBuffer())).metadata()
    expect({ width, height }).toEqual({ width: 96, height: 96 })
  })

  test('is waited for while it is being uploaded there', async () => {
    const created = await alice.fetch('/_matrix/media/v1/create', { method: 'POST' })
    const { content_uri: uri } = (await created.json()) as { content_uri: string }
    const mxc = uri.slice('mxc://'.length)
    const early = await download(bob, mxc, '?timeout_ms=0')
    expect(early.status).toBe(504)
    expect(await early.json()).toMatchObject({ errcode: 'M_NOT_YET_UPLOADED' })
    const waiting = download(bob, mxc)
    await alice.fetch(`/_matrix/media/v3/upload/${mxc}`, { method: 'PUT', body: 'later' })
    expect(await (await waiting).text()).toBe('later')
  })

  test('that is not there, or is hidden there, is not had', async () => {
    const response = await download(bob, `${names[0]}/nothing`)
    expect(response.status).toBe(404)
    expect(await response.json()).toMatchObject({ errcode: 'M_NOT_FOUND' })
    const moderation = await import('#store/media/moderation.ts')
    const [serverName, mediaId] = (await upload('hidden', 'text/plain')).split('/')
    const keys = [{ serverName: serverName!, mediaId: mediaId! }]
    await moderation.quarantine(homes[0].context.sql, keys, '@admin:x')
    expect((await download(bob, `${serverName}/${mediaId}`)).status).toBe(404)
  })
})

describe('what another server asks for', () => {
  const ask = async (uri: string, unsigned = false) => {
    const { federation } = homes[1].context
    const request = { destination: names[0], method: 'GET' as const, uri, unsigned }
    return federation.call('request', { ...request, deadlineMs: 20_000, maxBytes: 1_000_000 })
  }
  const base = '/_matrix/federation/v1/media'

  test('comes in two parts', async () => {
    const mediaId = (await upload('words', 'text/plain', 'a.txt')).split('/')[1]!
    const { status, body } = await ask(`${base}/download/${mediaId}`)
    expect(status).toBe(200)
    expect(body).toMatch(
      /^--(\w+)\r\nContent-Type: application\/json\r\n\r\n\{\}\r\n--\1\r\nContent-Type: text\/plain\r\nContent-Disposition: inline; filename=a.txt\r\n\r\nwords\r\n--\1--\r\n$/,
    )
  })

  test('may be a thumbnail', async () => {
    const image = await sharp({
      create: { width: 400, height: 300, channels: 3, background: 'blue' },
    })
      .jpeg()
      .toBuffer()
    const mediaId = (await upload(new Uint8Array(image), 'image/jpeg')).split('/')[1]!
    const { status, body } = await ask(`${base}/thumbnail/${mediaId}?width=32&height=32`)
    expect(status).toBe(200)
    expect(body).toContain('\r\nContent-Type: image/jpeg\r\n')
    expect((await ask(`${base}/thumbnail/${mediaId}?width=32`)).status).toBe(400)
  })

  test('must be signed, and be media of this server', async () => {
    const mediaId = (await upload('words', 'text/plain')).split('/')[1]!
    expect((await ask(`${base}/download/${mediaId}`, true)).status).toBe(401)
    expect((await ask(`${base}/download/unknown`)).status).toBe(404)
    expect((await ask(`${base}/download/..%2f..%2fetc%2fpasswd`)).status).toBe(400)
    // In the old way it is frozen.
    const old = `/_matrix/media/v3/download/${names[0]}/${mediaId}?allow_remote=false`
    expect((await ask(old, true)).status).toBe(404)
  })
})

import { afterAll, describe, expect, test } from 'bun:test'
import sharp from 'sharp'
import { testDatabase } from '#test/database.ts'
import { MediaHome } from './media-home.ts'

const db = await testDatabase()
const at = await MediaHome.open(db, {
  url_previews: { enabled: true, allowed_ip_ranges: ['127.0.0.1'] },
})
const alice = await at.home.person('alice')
let asked = 0
const image = await sharp({
  create: { width: 30, height: 20, channels: 3, background: 'red' },
})
  .png()
  .toBuffer()
const site = Bun.serve({
  hostname: '127.0.0.1',
  port: 0,
  fetch(request) {
    asked++
    const { pathname } = new URL(request.url)
    if (pathname === '/cat.png')
      return new Response(image, { headers: { 'content-type': 'image/png' } })
    if (pathname === '/broken') return new Response('', { status: 500 })
    const page = '<head><title>Cat</title><meta property="og:image" content="cat.png"></head>'
    return new Response(page, { headers: { 'content-type': 'text/html' } })
  },
})
afterAll(() => site.stop(true))

const preview = (url: string, route = '/_matrix/client/v1/media') =>
  at.ask(alice, `${route}/preview_url?url=${encodeURIComponent(url)}`)
const page = (path = '/') => `http://127.0.0.1:${site.port}${path}`

describe('a preview', () => {
  test('comes with its picture as media of this server, and is kept for a while', async () => {
    const { status, body } = await preview(page('/#part'))
    expect(status).toBe(200)
    expect(body).toEqual({
      'og:title': 'Cat',
      'og:image': expect.stringMatching(/^mxc:\/\/[^/]+\/[\w-]+$/),
      'og:image:type': 'image/png',
      'og:image:width': 30,
      'og:image:height': 20,
      'matrix:image:size': image.length,
    })
    const mxc = (body['og:image'] as string).slice('mxc://'.length)
    const picture = await at.ask(alice, `/_matrix/client/v1/media/download/${mxc}`)
    expect(picture.bytes.equals(image)).toBe(true)

    const before = asked
    expect((await preview(page(), '/_matrix/media/v3')).body).toEqual(body)
    expect(asked).toBe(before)
    at.home.now += 2 * 3600_000
    expect((await preview(page())).status).toBe(200)
    expect(asked).toBeGreaterThan(before)
  })

  test('is made once for all who want it at once', async () => {
    const before = asked
    const all = await Promise.all([1, 2, 3].map(() => preview(page('/once'))))
    expect(new Set(all.map(({ body }) => JSON.stringify(body))).size).toBe(1)
    expect(asked).toBe(before + 2)
  })

  test('is refused in the same words, whatever is behind the address', async () => {
    const bad = [
      page('/broken'),
      'http://127.0.0.2/',
      'http://169.254.169.254/latest/meta-data',
      'http://[::1]/',
      'http://nowhere.invalid/',
    ]
    const answers = []
    for (const url of bad) answers.push(await preview(url))
    for (const { status, body } of answers) {
      expect(status).toBe(502)
      expect(body).toEqual(answers[0]!.body)
    }
    const before = asked
    await preview(page('/broken'))
    expect(asked).toBe(before)
  })

  test('is of an address of the web', async () => {
    for (const url of ['file:///etc/passwd', 'ftp://x/', 'x', '', `http://x/${'y'.repeat(3000)}`])
      expect(await preview(url)).toMatchObject({
        status: 400,
        body: { errcode: 'M_INVALID_PARAM' },
      })
    expect((await at.ask(alice, '/_matrix/client/v1/media/preview_url')).status).toBe(400)
  })
})

test('there are none unless the operator wants them', async () => {
  const off = await MediaHome.open(await testDatabase())
  const bob = await off.home.person('bob')
  const url = `/_matrix/client/v1/media/preview_url?url=${encodeURIComponent(page())}`
  expect(await off.ask(bob, url)).toMatchObject({
    status: 404,
    body: { errcode: 'M_UNRECOGNIZED' },
  })
})

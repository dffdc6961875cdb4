import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'bun:test'
import { stat } from 'node:fs/promises'
import { join } from 'node:path'
import sharp from 'sharp'
import type { Dns } from '#engine/federation/dns.ts'
import { makePreview } from '#engine/media/preview/make.ts'
import { newFolder } from '#test/folder.ts'

/** A site on loopback, under a name that tests give it. */
let site: Bun.Server<undefined>
let asked: string[] = []
let answer: (path: string) => Response = () => new Response('')
let target: string

beforeAll(async () => {
  target = join(await newFolder('preview'), 'picture')
  site = Bun.serve({
    hostname: '127.0.0.1',
    port: 0,
    fetch: (request) => {
      const { pathname } = new URL(request.url)
      asked.push(`${request.headers.get('host')!.split(':')[0]}${pathname}`)
      return answer(pathname)
    },
  })
})
beforeEach(() => {
  asked = []
})
afterAll(() => site.stop(true))

/** Each look-up of a name takes the next of its answers; the last one stays. */
const dnsOf = (names: Record<string, string[]>): Dns => ({
  addresses: async (host) => {
    const answers = names[host]
    if (!answers) throw new Error(`${host} does not exist`)
    return [answers.length > 1 ? answers.shift()! : answers[0]!]
  },
  srv: async () => [],
})

const open = { blockedRanges: [] as string[], allowedRanges: [] as string[] }
const closed = {
  ...open,
  blockedRanges: ['127.0.0.0/8', '169.254.0.0/16', '::1/128', '10.0.0.0/8'],
}

const preview = (url: string, rules = open, names: Record<string, string[]> = {}) =>
  makePreview(
    { url, target, maxPixels: 1_000_000, extraAuthorities: [], ...rules },
    dnsOf({ 'site.test': ['127.0.0.1'], ...names }),
  )
const at = (path = '/', host = 'site.test') => `http://${host}:${site.port}${path}`
const html = (text: string) => new Response(text, { headers: { 'content-type': 'text/html' } })
const picture = () =>
  sharp({ create: { width: 30, height: 20, channels: 3, background: 'red' } })
    .png()
    .toBuffer()
const isThere = () =>
  stat(target).then(
    () => true,
    () => false,
  )

describe('a preview', () => {
  test('is of what the page says, with its picture as a file', async () => {
    const image = await picture()
    answer = (path) =>
      path === '/cat.png'
        ? new Response(image, { headers: { 'content-type': 'image/png' } })
        : html(
            '<head><meta property="og:title" content="Cat"><meta property="og:image" content="cat.png">',
          )
    expect(await preview(at('/'))).toMatchObject({
      outcome: 'made',
      properties: { 'og:title': 'Cat' },
      picture: { contentType: 'image/png', width: 30, height: 20, bytes: image.length },
    })
    expect(asked).toEqual(['site.test/', 'site.test/cat.png'])
    expect(await Bun.file(target).bytes()).toEqual(new Uint8Array(image))
  })

  test('is made without its picture where that is none', async () => {
    answer = (path) =>
      path === '/cat.png'
        ? new Response('no image', { headers: { 'content-type': 'image/png' } })
        : html('<head><title>Cat</title><meta property="og:image" content="cat.png">')
    const made = await preview(at('/'))
    expect(made).toEqual({ outcome: 'made', properties: { 'og:title': 'Cat' } })
    expect(await isThere()).toBe(false)
  })

  test('of a picture is the picture, and of anything else is empty', async () => {
    const image = await picture()
    answer = () => new Response(image, { headers: { 'content-type': 'image/png' } })
    expect(await preview(at())).toMatchObject({ properties: {}, picture: { width: 30 } })
    answer = () => new Response('%PDF', { headers: { 'content-type': 'application/pdf' } })
    expect(await preview(at())).toEqual({ outcome: 'made', properties: {} })
  })

  test('reads no more than the beginning of a page (CVE-2022-41952)', async () => {
    let sent = 0
    answer = () =>
      new Response(
        new ReadableStream({
          start: (controller) => controller.enqueue(Buffer.from('<head><title>Long</title>')),
          pull(controller) {
            sent += 65_536
            controller.enqueue(Buffer.alloc(65_536, 'x'))
          },
        }),
        { headers: { 'content-type': 'text/html' } },
      )
    expect(await preview(at())).toMatchObject({ properties: { 'og:title': 'Long' } })
    expect(sent).toBeLessThan(50_000_000)
  })

  test('follows redirects, and not for ever', async () => {
    answer = (path) =>
      path === '/1' ? Response.redirect(at('/2'), 302) : html('<head><title>There</title>')
    expect(await preview(at('/1'))).toMatchObject({ properties: { 'og:title': 'There' } })
    answer = () => Response.redirect(at('/1'), 302)
    expect(await preview(at('/1'))).toMatchObject({ outcome: 'failed' })
    expect(asked.length).toBeLessThan(10)
  })
})

describe('nothing is fetched', () => {
  beforeEach(() => {
    answer = () => html('<head><title>Secret</title>')
  })
  const refused = async (url: string, names: Record<string, string[]> = {}) => {
    expect((await preview(url, closed, names)).outcome).toBe('failed')
    expect(asked).toEqual([])
  }

  test('from addresses that are blocked, however they are written (CVE-2021-21392, continuwuity SEC11)', async () => {
    const port = site.port
    for (const host of [
      '127.0.0.1',
      '127.1',
      '2130706433',
      '0x7f.1',
      '[::1]',
      '[::ffff:127.0.0.1]',
      '169.254.169.254',
      'site.test',
      'SITE.test',
    ])
      await refused(`http://${host}:${port}/`)
    await refused('http://169.254.169.254/latest/meta-data/')
  })

  test('but over HTTP and HTTPS, or with a user in the address', async () => {
    for (const url of [
      'file:///etc/passwd',
      'ftp://site.test/',
      'gopher://site.test/',
      'data:text/html,x',
      'nonsense',
      at('/').replace('//', '//user:password@'),
    ]) {
      expect((await preview(url, open)).outcome).toBe('failed')
      expect(asked).toEqual([])
    }
  })

  test('where a redirect leads to a blocked address', async () => {
    const rules = { ...closed, allowedRanges: ['127.0.0.1/32'] }
    const places = [
      'http://127.0.0.2/',
      'http://169.254.169.254/',
      'http://inside.test/',
      'file:///etc',
    ]
    for (const place of places) {
      asked = []
      answer = () => new Response(null, { status: 302, headers: { location: place } })
      const made = await preview(at(), rules, { 'inside.test': ['10.0.0.1'] })
      expect(made.outcome).toBe('failed')
      expect(asked).toEqual(['site.test/'])
    }
  })

  test('where a name leads to a good address when it is judged, and to a blocked one later', async () => {
    // The address of the first answer takes no connection. If the name were looked up once more to
    // be dialled, it would lead to the site.
    const names = { 'rebinding.test': ['127.0.0.9', '127.0.0.1'] }
    const rules = { ...closed, allowedRanges: ['127.0.0.9/32'] }
    const url = at('/', 'rebinding.test')
    expect((await preview(url, rules, names)).outcome).toBe('failed')
    // And when it is looked up again, it is judged again.
    expect((await preview(url, rules, names)).outcome).toBe('failed')
    expect(asked).toEqual([])
  })

  test('as the picture of a page from a blocked address (CVE-2023-32683)', async () => {
    const rules = { ...closed, allowedRanges: ['127.0.0.1/32'] }
    answer = () =>
      html('<head><title>Page</title><meta property="og:image" content="http://127.0.0.2/x.png">')
    const made = await preview(at(), rules)
    expect(made).toEqual({ outcome: 'made', properties: { 'og:title': 'Page' } })
  })
})

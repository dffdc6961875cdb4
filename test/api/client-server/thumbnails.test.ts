import { describe, expect, test } from 'bun:test'
import sharp from 'sharp'
import { testDatabase } from '#test/database.ts'
import { MediaHome } from './media-home.ts'

const db = await testDatabase()
const at = await MediaHome.open(db, { media: { max_image_pixels: 1_000_000 } })
const server = at.ctx.serverName
const alice = await at.home.person('alice')

const plain = (width: number, height: number, channels: 3 | 4 = 3) =>
  sharp({
    create: { width, height, channels, background: { r: 200, g: 10, b: 10, alpha: 0.5 } },
    limitInputPixels: false,
  })
const png = (width: number, height: number) => plain(width, height).png().toBuffer()

/** An image that there is no second time. */
const noise = (size: number) =>
  sharp(crypto.getRandomValues(Buffer.alloc(size * size * 3)), {
    raw: { width: size, height: size, channels: 3 },
  })
    .png()
    .toBuffer()

/** Frames that differ, so that they stay apart. */
const moving = (size: number) =>
  sharp(
    [0, 1, 2].map((frame) => ({
      create: { width: size, height: size, channels: 3, background: { r: frame * 90, g: 0, b: 0 } },
    })) as never,
    { join: { animated: true } },
  )
    .gif({ delay: [100, 100, 100] })
    .toBuffer()

const upload = (content: Uint8Array, type = 'image/png') =>
  at.upload(alice, content as Uint8Array<ArrayBuffer>, { type })

async function thumbnail(mediaId: string, query: string) {
  const path = `/_matrix/client/v1/media/thumbnail/${server}/${mediaId}?${query}`
  const answer = await at.ask(alice, path)
  const { status, headers, bytes, body } = answer
  if (status !== 200) return { status, errcode: body.errcode }
  const { width, height, pages = 1, format } = await sharp(bytes, { animated: true }).metadata()
  const type = headers.get('content-type')
  expect(headers.get('content-disposition')).toBe(`inline; filename=thumbnail.${format}`)
  expect(type).toBe(`image/${format}`)
  return { size: `${width}x${height / pages}`, pages, type, bytes }
}
const sizeOf = async (mediaId: string, query: string) => (await thumbnail(mediaId, query)).size

describe('a thumbnail', () => {
  test('is never smaller than asked for, and keeps its shape if scaled', async () => {
    const mediaId = await upload(await png(1000, 800))
    expect(await sizeOf(mediaId, 'width=320&height=240&method=scale')).toBe('320x256')
    expect(await sizeOf(mediaId, 'width=100&height=100')).toBe('320x256')
    expect(await sizeOf(mediaId, 'width=1&height=1&method=scale')).toBe('40x32')
    expect(await sizeOf(mediaId, 'width=800&height=600&method=scale')).toBe('800x640')
  })

  test('has the shape that is asked for if cropped', async () => {
    const mediaId = await upload(await png(1000, 800))
    expect(await sizeOf(mediaId, 'width=32&height=32&method=crop')).toBe('32x32')
    expect(await sizeOf(mediaId, 'width=96&height=96&method=crop')).toBe('96x96')
    expect(await sizeOf(mediaId, 'width=320&height=160&method=crop')).toBe('320x160')
    expect(await sizeOf(mediaId, 'width=100&height=50&method=crop')).toBe('160x80')
  })

  test('is never larger than the image, which is given as it is instead', async () => {
    const content = await png(200, 100)
    const mediaId = await upload(content)
    for (const query of [
      'width=320&height=240&method=scale',
      'width=200&height=100&method=crop',
      'width=5000&height=5000&method=crop',
      'width=5000&height=5000&method=scale',
    ])
      expect((await thumbnail(mediaId, query)).bytes!.equals(content)).toBe(true)
    expect(await sizeOf(mediaId, 'width=640&height=50&method=crop')).toBe('200x80')
  })

  test('keeps what is transparent', async () => {
    const mediaId = await upload(await plain(500, 500, 4).png().toBuffer())
    const { type, bytes } = await thumbnail(mediaId, 'width=32&height=32&method=crop')
    expect(type).toBe('image/png')
    expect((await sharp(bytes).stats()).isOpaque).toBe(false)
  })

  test('is upright', async () => {
    const lying = await plain(800, 400).jpeg().withMetadata({ orientation: 6 }).toBuffer()
    const mediaId = await upload(lying, 'image/jpeg')
    expect(await sizeOf(mediaId, 'width=96&height=96&method=scale')).toBe('96x192')
  })

  test('moves only if that is asked for', async () => {
    for (const size of [64, 400]) {
      const mediaId = await upload(await moving(size), 'image/gif')
      const query = 'width=96&height=96&method=crop'
      expect((await thumbnail(mediaId, query)).pages).toBe(1)
      expect((await thumbnail(mediaId, `${query}&animated=false`)).pages).toBe(1)
      const { pages, size: made } = await thumbnail(mediaId, `${query}&animated=true`)
      expect({ pages, made }).toEqual({
        pages: 3,
        made: `${Math.min(size, 96)}x${Math.min(size, 96)}`,
      })
    }
  })

  test('is of what the image is, whatever its type says', async () => {
    const mediaId = await upload(await plain(300, 300).webp().toBuffer(), 'text/html')
    expect((await thumbnail(mediaId, 'width=32&height=32')).type).toBe('image/jpeg')
    expect((await thumbnail(mediaId, 'width=300&height=300')).type).toBe('image/webp')
  })

  test('is made once, for all who have uploaded the same image', async () => {
    const content = await noise(140)
    const before = (await at.files()).finished.length
    for (const mediaId of [await upload(content), await upload(content)])
      await Promise.all([1, 2].map(() => thumbnail(mediaId, 'width=40&height=40&method=crop')))
    expect((await at.files()).finished.length).toBe(before + 2)
  })

  test('goes with its image', async () => {
    const content = await noise(140)
    const before = (await at.files()).finished
    const mediaId = await upload(content)
    await thumbnail(mediaId, 'width=40&height=40&method=crop')
    const moderation = await import('#store/media/moderation.ts')
    await moderation.remove(at.ctx.sql, [{ serverName: server, mediaId }], at.home.now)
    at.home.now += 2 * 3600_000
    await at.sweep()
    await at.sweep()
    expect((await at.files()).finished).toEqual(before)
  })
})

describe('there is no thumbnail', () => {
  test('of what is no image, whatever its type says (CVE-2024-53863)', async () => {
    const svg = '<svg xmlns="http://www.w3.org/2000/svg" width="99" height="99"></svg>'
    const contents = ['', 'text', svg, '%PDF-1.4', '\x89PNG\r\n\x1a\n']
    for (const content of contents) {
      const mediaId = await upload(Buffer.from(content, 'latin1'))
      expect(await thumbnail(mediaId, 'width=32&height=32')).toEqual({
        status: 400,
        errcode: 'M_UNKNOWN',
      })
    }
  })

  test('of an image that is cut off', async () => {
    const content = await noise(100)
    const mediaId = await upload(content.subarray(0, 1000))
    expect((await thumbnail(mediaId, 'width=32&height=32')).status).toBe(400)
  })

  test('of an image that would take too much memory', async () => {
    const bomb = await plain(6000, 6000).png().toBuffer()
    const mediaId = await upload(bomb)
    expect(await thumbnail(mediaId, 'width=32&height=32&method=crop')).toEqual({
      status: 413,
      errcode: 'M_TOO_LARGE',
    })
  })

  test('of a size that is none', async () => {
    const mediaId = await upload(await png(50, 50))
    for (const query of [
      '',
      'width=32',
      'width=0&height=32',
      'width=-1&height=32',
      'width=1.5&height=32',
      'width=a&height=32',
      'width=32&height=32&method=stretch',
    ])
      expect((await thumbnail(mediaId, query)).status).toBe(400)
  })
})

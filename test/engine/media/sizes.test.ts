import { expect, test } from 'bun:test'
import { sizeFor } from '#engine/media/sizes.ts'

const size = (method: 'crop' | 'scale', width: number, height: number) => {
  const made = sizeFor({ method, width, height, animated: false })
  return made && `${made.width}x${made.height}`
}

test('the sizes of the spec are made as they are', () => {
  expect(size('crop', 32, 32)).toBe('32x32')
  expect(size('crop', 96, 96)).toBe('96x96')
  expect(size('scale', 320, 240)).toBe('320x240')
  expect(size('scale', 640, 480)).toBe('640x480')
  expect(size('scale', 800, 600)).toBe('800x600')
})

test('no size is smaller than the wish, and there are few of them', () => {
  for (const method of ['crop', 'scale'] as const) {
    const made = new Set<string>()
    for (let width = 1; width < 2000; width += 7)
      for (let height = 1; height < 1500; height += 7) {
        const found = sizeFor({ method, width, height, animated: false })
        if (!found) continue
        made.add(`${found.width}x${found.height}`)
        const isSmaller = found.width < width || found.height < height
        if (isSmaller) throw new Error(`${method} ${width}x${height}: ${JSON.stringify(found)}`)
      }
    expect(made.size).toBeLessThan(method === 'crop' ? 110 : 10)
  }
})

test('what is larger than all of them is no size', () => {
  expect(size('crop', 3000, 20)).toBeUndefined()
  expect(size('scale', 10, 3000)).toBeUndefined()
})

import { expect, test } from 'bun:test'
import { emojiKey, emojiOf, withEmoji } from '#importers/markup/emoji.ts'

test('short names give the emoji that clients send, with its variation selector', () => {
  expect(emojiOf('tada')).toBe('🎉')
  expect(emojiOf('heart')).toBe('\u2764\uFE0F')
  expect(emojiOf('flag-de')).toBe('🇩🇪')
  expect(emojiOf('woman-shrugging')).toBe('🤷‍♀️')
  expect(emojiOf('hugs', 'github')).toBe('🤗')
  expect(emojiKey('\u2764')).toBe('\u2764\uFE0F')
})

test('a skin tone stands behind the first sign', () => {
  expect(emojiOf('+1::skin-tone-2')).toBe('\u{1F44D}\u{1F3FB}')
  expect(emojiOf('woman-shrugging::skin-tone-6')).toBe('\u{1F937}\u{1F3FF}\u200D\u2640\uFE0F')
  expect(emojiOf('+1::skin-tone-9')).toBe(emojiOf('+1')!)
})

test('names that are no emoji stay as they are, those of objects in JavaScript too', () => {
  expect(emojiOf('party-parrot')).toBeUndefined()
  expect(emojiOf('__proto__')).toBeUndefined()
  expect(emojiOf('constructor')).toBeUndefined()
  expect(withEmoji('at 12:30:45 :tada: :corp-logo: :+1::skin-tone-3:')).toBe(
    'at 12:30:45 🎉 :corp-logo: \u{1F44D}\u{1F3FC}',
  )
})

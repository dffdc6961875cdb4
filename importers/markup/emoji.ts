import compact from 'emojibase-data/en/compact.json'
import github from 'emojibase-data/en/shortcodes/github.json'
import iamcal from 'emojibase-data/en/shortcodes/iamcal.json'

/** Whose names: `iamcal` is what Slack and Mattermost use, `github` what Gitter does. */
export type EmojiNames = 'iamcal' | 'github'

const selectors = /\uFE0F/g
const sets = { iamcal: namesOf(iamcal), github: namesOf(github) }
const written = new Map<string, string>()
for (const { unicode, skins } of compact) {
  for (const each of [unicode, ...(skins ?? []).map((skin) => skin.unicode)])
    written.set(each.replace(selectors, ''), each)
}

function namesOf(codes: Record<string, string | string[]>): Map<string, string> {
  const byName = new Map<string, string>()
  for (const [hex, names] of Object.entries(codes)) {
    const text = String.fromCodePoint(...hex.split('-').map((code) => Number.parseInt(code, 16)))
    for (const name of [names].flat()) byName.set(name, text)
  }
  return byName
}

/** An emoji as clients write it, with its variation selector, so that equal reactions count as one. */
export function emojiKey(text: string): string {
  return written.get(text.replace(selectors, '')) ?? text
}

/** The emoji of a short name without its colons, also with `::skin-tone-2` to `-6`; undefined for custom ones. */
export function emojiOf(name: string, names: EmojiNames = 'iamcal'): string | undefined {
  const [plain = '', tone] = name.split(/::?skin-tone-/)
  const emoji = sets[names].get(plain)
  if (emoji === undefined || tone === undefined) return emoji && emojiKey(emoji)
  const step = Number(tone)
  if (!(step >= 2 && step <= 6)) return emojiKey(emoji)
  const [first = '', ...rest] = emoji.replace(selectors, '')
  return emojiKey(first + String.fromCodePoint(0x1f3f9 + step) + rest.join(''))
}

/** Text with every `:name:` that is an emoji replaced by it; others are left as they are. */
export function withEmoji(text: string, names: EmojiNames = 'iamcal'): string {
  return text.replace(
    /:([+\w-]+)(?::(:skin-tone-[2-6]):|:)/g,
    (all, name: string, tone?: string) => emojiOf(name + (tone ? `:${tone}` : ''), names) ?? all,
  )
}

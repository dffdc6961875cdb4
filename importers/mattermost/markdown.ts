import type { Text } from '#importers/format.ts'
import { emojiOf, withEmoji } from '#importers/markup/emoji.ts'
import { escapeHtml } from '#importers/markup/html.ts'
import { createMarkdown } from '#importers/markup/markdown.ts'
import { type Found, addToken } from '#importers/markup/tokens.ts'

/** Whom and what names in a text mean. */
export type MattermostNames = {
  person(username: string): boolean
  /** The ID of a channel of the same team. */
  channel(name: string): string | undefined
}

type Env = Found & { names: MattermostNames }

const render = createMarkdown((md) => {
  addToken<Env>(
    md,
    'mentions',
    '@',
    /(?<!\w)@([a-z0-9][a-z0-9._-]*)/iy,
    ([all, name = ''], env) => {
      if (/^(channel|all|here)$/i.test(name)) {
        env.everyone = true
        return all
      }
      const username = personIn(name, env.names)
      if (username === undefined) return undefined
      env.people.add(username)
      const rest = all.slice(username.length + 1)
      return `<a data-person="${escapeHtml(username)}">@${escapeHtml(username)}</a>${escapeHtml(rest)}`
    },
  )
  addToken<Env>(
    md,
    'channels',
    '~',
    /(?<![\w~])~([a-z0-9][a-z0-9._-]*)/iy,
    ([all, name = ''], env) => {
      const id = env.names.channel(name)
      return id === undefined
        ? undefined
        : `<a data-room="${escapeHtml(id)}">${escapeHtml(all)}</a>`
    },
  )
  addToken<Env>(md, 'emoji', ':', /:([+\w-]+):/y, ([, name = '']) => emojiOf(name))
  // Pictures elsewhere are not shown by Matrix clients: a link is.
  md.renderer.rules['image'] = (tokens, at) => {
    const url = escapeHtml(tokens[at]?.attrGet('src')?.toString() ?? '')
    return `<a href="${url}">${escapeHtml(tokens[at]?.content || url)}</a>`
  }
})

/** A name may end a sentence: the point behind it is not part of it then. */
function personIn(name: string, names: MattermostNames): string | undefined {
  for (let known = name.toLowerCase(); known !== ''; known = known.slice(0, -1)) {
    if (names.person(known)) return known
    if (!/[._-]$/.test(known)) return undefined
  }
  return undefined
}

/** Both forms of a text in Mattermost's Markdown. */
export function mattermostText(source: string, names: MattermostNames): Text {
  const env: Env = { people: new Set(), everyone: false, names }
  const { body, html } = render(source, env)
  return {
    body: withEmoji(body),
    ...(html !== undefined && { html }),
    ...(env.people.size > 0 && { mentions: [...env.people] }),
    ...(env.everyone && { mentionsRoom: true }),
  }
}

import type { FileContent, Person } from '#importers/format.ts'
import { type Fields, flag, id as idOf, isFields, list, text } from '#importers/read/fields.ts'
import type { Source } from '#importers/source.ts'

/** The account that Discord puts in the place of all that were deleted. */
const deletedUser = '456226577798135808'

/** Whoever turns up in messages: the export has no list of people. */
export class People {
  readonly #source: Source
  readonly #names = new Map<string, string>()
  readonly #roles = new Map<string, string>()

  constructor(source: Source) {
    this.#source = source
  }

  name(id: string): string | undefined {
    return this.#names.get(id)
  }

  role(id: string): string | undefined {
    return this.#roles.get(id)
  }

  /** Remembers somebody, and yields them the first time. */
  *meet(user: unknown, file: string): Generator<Person> {
    const id = idOf(user, 'id')
    if (id === undefined || !isFields(user)) return
    for (const role of list(user, 'roles')) {
      const [roleId, name] = [idOf(role, 'id'), text(role, 'name')]
      if (roleId !== undefined && name !== undefined) this.#roles.set(roleId, name)
    }
    if (this.#names.has(id)) return
    const name = nameOf(user)
    this.#names.set(id, name ?? id)
    const username = text(user, 'name') || undefined
    const avatar = contentOf(this.#source, file, text(user, 'avatarUrl'))
    yield {
      kind: 'person',
      id,
      ...(username !== undefined && { username }),
      ...(name !== undefined && { name }),
      ...(avatar && { avatar }),
      ...(flag(user, 'isBot') && { bot: true }),
      ...(id === deletedUser && { removed: true }),
    }
  }

  /** How somebody was called in a message, where that differs: webhooks call themselves anew each time. */
  shownAs(user: Fields): { name: string } | undefined {
    const name = nameOf(user)
    const known = this.#names.get(idOf(user, 'id') ?? '')
    return name !== undefined && known !== undefined && name !== known ? { name } : undefined
  }
}

const nameOf = (user: Fields): string | undefined =>
  text(user, 'nickname') || text(user, 'name') || undefined

/**
 * Where a file is that was downloaded with the export: its path is relative to the export's, with the
 * separators of the system that it was made on. Nothing if it is not there.
 */
export function contentOf(
  source: Source,
  file: string,
  url: string | undefined,
): FileContent | undefined {
  if (!url) return undefined
  if (/^https?:\/\//i.test(url)) return { url }
  const folder = file.includes('/') ? file.slice(0, file.lastIndexOf('/') + 1) : ''
  const path = url.replaceAll('\\', '/').replace(/^\.\//, '')
  const entry = [path, decoded(path)].map((each) => folder + each).find((each) => source.has(each))
  return entry === undefined ? undefined : { entry }
}

function decoded(path: string): string {
  try {
    return decodeURIComponent(path)
  } catch {
    return path
  }
}

import { createHash } from 'node:crypto'
import { LRUCache } from 'lru-cache'
import type { FileContent } from '#importers/format.ts'
import type { Ledger } from '#importers/state/ledger.ts'

export type PeopleMode = 'real' | 'ghosts' | 'profile'

export type PeoplePlan = {
  mode: PeopleMode
  /** How the names of ghosts begin. */
  prefix: string
  /** IDs of people: a user of the server, `ghost` or `skip`. */
  map: { [person: string]: string }
}

/** Who says something in Matrix. */
export type Speaker = {
  person: string
  userId: string
  /** Made by the import: the server is told of it before it speaks. */
  isGhost: boolean
  /** Their name is shown by the event itself, as they have no account. */
  isShared: boolean
  name: string
  bot: boolean
  avatar: FileContent | undefined
}

const longestName = 255
const remembered = 20_000

/** Turns people of the export into users: those of the map, ghosts, or the importer with a name on each event. */
export class People {
  readonly #ledger: Ledger
  readonly #plan: PeoplePlan
  readonly #serverName: string
  readonly #importer: string
  readonly #known = new LRUCache<string, { speaker: Speaker | null }>({ max: remembered })
  readonly #renames: ReturnType<Ledger['renames']>

  constructor(ledger: Ledger, plan: PeoplePlan, importer: string) {
    this.#ledger = ledger
    this.#plan = plan
    this.#importer = importer
    this.#serverName = importer.slice(importer.indexOf(':') + 1)
    this.#renames = ledger.renames()
  }

  get mode(): PeopleMode {
    return this.#plan.mode
  }

  /** Who speaks for a person; null for those who are left out. */
  speaker(person: string): Speaker | null {
    const known = this.#known.get(person)
    if (known) return known.speaker
    const speaker = this.#find(person)
    this.#known.set(person, { speaker })
    return speaker
  }

  /** What a person was called at a time, where that differs from today. */
  nameAt(person: string, time: number): string | undefined {
    const changes = this.#renames.get(person)
    if (!changes) return undefined
    const later = changes.find((change) => change.time > time)
    const last = changes.findLast((change) => change.time <= time)
    return last?.name ?? later?.before ?? undefined
  }

  #find(person: string): Speaker | null {
    const found = this.#ledger.person(person)
    const wish = this.#plan.map[person]
    // In the mode real nobody speaks but users that are known.
    if (wish === 'skip' || (wish === undefined && this.#plan.mode === 'real')) return null
    const fallback = found?.removed ? 'Deleted user' : person
    const speaker = {
      person,
      name: shorten(found?.name?.trim() || found?.username || fallback),
      bot: found?.bot ?? false,
      avatar: found?.avatar,
    }
    if (wish?.startsWith('@')) return { ...speaker, userId: wish, isGhost: false, isShared: false }
    if (this.#plan.mode === 'profile' && wish !== 'ghost')
      return { ...speaker, userId: this.#importer, isGhost: false, isShared: true }
    const userId = found?.userId ?? this.#claim(person)
    return { ...speaker, userId, isGhost: true, isShared: false }
  }

  /** An ID for a ghost, the same in every run; two people whose IDs differ by case alone get two. */
  #claim(person: string): string {
    for (const localpart of [
      this.#plan.prefix + escapeLocalpart(person),
      `${this.#plan.prefix}${escapeLocalpart(person).slice(0, 100)}-${digest(person)}`,
    ]) {
      const userId = `@${localpart}:${this.#serverName}`
      if (userId.length <= longestName && this.#ledger.claimUserId(person, userId)) return userId
    }
    throw new Error(`There is no user ID for ${person}`)
  }
}

/**
 * Spec: appendices, Mapping from other character sets: lower case, and `=` with two digits for each byte that
 * may not stand in a user ID. The ID differs where that makes two people one.
 */
export function escapeLocalpart(id: string): string {
  return [...new TextEncoder().encode(id.toLowerCase())]
    .map((byte) => {
      const character = String.fromCharCode(byte)
      return /[a-z0-9._/-]/.test(character) ? character : `=${byte.toString(16).padStart(2, '0')}`
    })
    .join('')
}

const digest = (text: string) => createHash('sha256').update(text).digest('hex').slice(0, 8)

/** Spec: a name has at most 256 characters where servers check it. */
const shorten = (name: string) => (name.length <= 256 ? name : `${name.slice(0, 255)}…`)

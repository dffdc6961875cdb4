const member = 'm.room.member'
const star = '*'

/**
 * Which state of a room a client wants: by type and state key, each of which may be any. With lazy
 * loading, of the members only those who are named and those without whom a timeline cannot be shown.
 *
 * MSC4186: "Lazy loaded memberships"
 */
export class RequiredState {
  static readonly none = new RequiredState(new Map(), false)

  readonly #keys: ReadonlyMap<string, ReadonlySet<string>>
  readonly lazy: boolean
  /** The same for what wants the same. */
  readonly name: string

  constructor(keys: ReadonlyMap<string, ReadonlySet<string>>, lazy: boolean) {
    this.#keys = keys
    this.lazy = lazy
    const names = Array.from(keys, ([type, found]) => JSON.stringify([type, ...[...found].sort()]))
    this.name = JSON.stringify([lazy, ...names.sort()])
  }

  /** From pairs of type and state key; `$ME` is the user, `$LAZY` loads members lazily. */
  static parse(pairs: readonly (readonly [string, string])[], userId: string): RequiredState {
    const keys = new Map<string, Set<string>>()
    let lazy = false
    for (const [type, key] of pairs) {
      // No event has a type or a key that the database cannot hold.
      if (type.includes('\0') || key.includes('\0')) continue
      if (key === '$LAZY') lazy ||= type === member
      else add(keys, type, key === '$ME' ? userId : key)
    }
    // Who asks for all members by name has them all.
    return new RequiredState(keys, lazy && !keys.get(member)?.has(star))
  }

  matches(type: string, stateKey: string): boolean {
    const own = this.#keys.get(type)
    const all = this.#keys.get(star)
    if (own?.has(stateKey) || own?.has(star) || all?.has(stateKey)) return true
    return all?.has(star) === true && !(this.lazy && type === member)
  }

  /** Keys that are named with their type. */
  get singles(): { type: string; stateKey: string }[] {
    return Array.from(this.#keys, ([type, keys]) =>
      type === star
        ? []
        : Array.from(keys, (stateKey) => ({ type, stateKey })).filter(
            (key) => key.stateKey !== star,
          ),
    ).flat()
  }

  /** How it is read: by its keys, or as the whole state, with or without the members. */
  get reading(): 'keys' | 'others' | 'whole' {
    let open = false
    for (const [type, keys] of this.#keys) {
      if (type === member && keys.has(star)) return 'whole'
      if (type === star && (keys.has(star) ? !this.lazy : true)) return 'whole'
      open ||= type === star || keys.has(star)
    }
    return open ? 'others' : 'keys'
  }

  /** Whether everything that another one wants is wanted here, members for timelines aside. */
  covers(other: RequiredState): boolean {
    if (this.name === other.name) return true
    if (other.#hasAllMembers && !this.#hasAllMembers) return false
    for (const [type, keys] of other.#keys)
      for (const key of keys) if (!this.#names(type, key)) return false
    return true
  }

  /** What either wants. */
  union(other: RequiredState): RequiredState {
    if (this.covers(other) && this.lazy === other.lazy) return this
    if (other.covers(this) && this.lazy === other.lazy) return other
    const keys = new Map<string, Set<string>>()
    for (const side of [this, other])
      for (const [type, found] of side.#keys) for (const key of found) add(keys, type, key)
    const lazy = (this.lazy || other.lazy) && !this.#hasAllMembers && !other.#hasAllMembers
    return new RequiredState(keys, lazy)
  }

  /** How many keys it names. */
  get size(): number {
    let size = 0
    for (const keys of this.#keys.values()) size += keys.size
    return size
  }

  get #hasAllMembers(): boolean {
    if (this.#keys.get(member)?.has(star)) return true
    return this.#keys.get(star)?.has(star) === true && !this.lazy
  }

  #names(type: string, key: string): boolean {
    const own = this.#keys.get(type)
    const all = this.#keys.get(star)
    if (own?.has(key) || own?.has(star) || all?.has(star)) return true
    return all?.has(key) === true
  }
}

function add(keys: Map<string, Set<string>>, type: string, key: string): void {
  const found = keys.get(type)
  if (found) found.add(key)
  else keys.set(type, new Set([key]))
}

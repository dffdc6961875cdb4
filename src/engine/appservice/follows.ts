import { LRUCache } from 'lru-cache'
import { atMost } from '#core/at-most.ts'
import { type Appservice, type NamespaceKind, covers } from '#core/appservice.ts'

/** An application service that may be sent what interests it, and the number of its rows. */
export type Following = { readonly nid: number; readonly appservice: Appservice }

/** Places in the list of those who follow, ascending. */
export type Places = readonly number[]

const nobody: Places = []
/** Users whose namespaces are kept in memory. */
const maxUsers = 200_000

/**
 * Whom a user, a room or an alias interests, of those who are sent anything. Which users are whose is
 * looked up again and again, and kept.
 */
export class Follows {
  readonly all: readonly Following[]
  readonly hasAliases: boolean
  /** Whether rooms have to be known by their IDs. */
  readonly knowsRooms: boolean
  readonly #users = new LRUCache<string, Places>(atMost(maxUsers))
  /** Those who are sent anything: some only from when they first connect. */
  readonly #active: Set<number>

  constructor(all: readonly Following[], active: Iterable<number>) {
    this.all = all
    this.#active = new Set(active)
    this.knowsRooms = all.some(
      ({ appservice: { namespaces } }) => namespaces.aliases.length + namespaces.rooms.length > 0,
    )
    this.hasAliases = all.some(({ appservice }) => appservice.namespaces.aliases.length > 0)
  }

  get active(): ReadonlySet<number> {
    return this.#active
  }

  /** From now on it is sent what interests it. */
  activate(place: number): void {
    this.#active.add(place)
    this.#users.clear()
  }

  ofUser(userId: string): Places {
    let places = this.#users.get(userId)
    if (!places) {
      places = this.#covering('users', userId)
      this.#users.set(userId, places)
    }
    return places
  }

  ofRoom(roomId: string): Places {
    return this.#covering('rooms', roomId)
  }

  ofAlias(alias: string): Places {
    return this.#covering('aliases', alias)
  }

  /** Those who are of a kind, sent anything or not yet. */
  where(is: (appservice: Appservice) => boolean): Places {
    return this.all.flatMap(({ appservice }, place) => (is(appservice) ? [place] : []))
  }

  #covering(kind: NamespaceKind, id: string): Places {
    return this.#places((appservice) => covers(appservice, kind, id))
  }

  #places(is: (appservice: Appservice) => boolean): Places {
    const places = this.all.flatMap(({ appservice }, place) =>
      this.#active.has(place) && is(appservice) ? [place] : [],
    )
    return places.length === 0 ? nobody : places
  }
}

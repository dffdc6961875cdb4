import type { Appservice, Namespace, NamespaceKind } from '#core/appservice.ts'
import { isNewLocalpart, isUserId } from '#core/ids.ts'
import { isObject } from '#core/json.ts'

/** The file of one application service, or what is wrong with it: a sentence for each key. */
export type Registration =
  { readonly appservice: Appservice } | { readonly faults: readonly string[] }

/**
 * Reads what a registration file holds. Keys that are not known are left alone: other servers' extensions
 * stand in the same file.
 *
 * Spec: application-service-api/#registration
 */
export function readRegistration(value: unknown, serverName: string): Registration {
  if (!isObject(value)) return { faults: ['it is no table of keys and values'] }
  const keys = new Keys(value)
  const id = keys.text('id')
  const { url, connects } = keys.address()
  const asToken = keys.token('as_token')
  const hsToken = keys.token('hs_token')
  const sender = keys.sender(serverName)
  const namespaces = keys.namespaces()
  const rateLimited = keys.flag('rate_limited', true)
  const protocols = keys.texts('protocols')
  const receiveEphemeral = keys.flag('receive_ephemeral', false)
  const pushEphemeral = keys.flag('de.sorunome.msc2409.push_ephemeral', false)
  const pushEncryption = keys.flag('org.matrix.msc3202', false)
  // MSC4190: v1.17 lets all of them make and remove devices without being asked for it.
  keys.flag('io.element.msc4190', false)
  if (keys.faults.length > 0) return { faults: keys.faults }
  return {
    appservice: {
      id,
      url,
      connects,
      asToken,
      hsToken,
      sender,
      namespaces,
      rateLimited,
      protocols,
      receiveEphemeral,
      pushEphemeral,
      pushEncryption,
    },
  }
}

/** What two registrations share that only one may have: `as_token` or `id`, by which they are known. */
export function sharedKeys(one: Appservice, other: Appservice): string[] {
  return [
    ...(one.id === other.id ? ['id'] : []),
    ...(one.asToken === other.asToken ? ['as_token'] : []),
  ]
}

type Table = Readonly<Record<string, unknown>>

const kinds = ['users', 'rooms', 'aliases'] as const satisfies NamespaceKind[]

/** Reads key by key. After a fault it goes on, so that all of them are told at once. */
class Keys {
  readonly faults: string[] = []
  readonly #table: Table

  constructor(table: Table) {
    this.#table = table
  }

  text(key: string): string {
    const value = this.#required(key)
    if (value === undefined) return ''
    if (typeof value === 'string' && value !== '') return value
    return this.#fault(key, 'must be a text that is not empty; numbers need quotes', '')
  }

  /** No fault shows the value. */
  token(key: string): string {
    const value = this.text(key)
    // It is sent in a header.
    if (/^[\u0021-\u007e]*$/.test(value)) return value
    return this.#fault(key, 'must be ASCII without spaces', '')
  }

  /**
   * Where it takes what is pushed to it. Not spec: `websocket` is written by bridges that connect to us;
   * null says that nothing is wanted, but may be of such a bridge, too.
   */
  address(): Pick<Appservice, 'url' | 'connects'> {
    const value = this.#required('url')
    if (value === undefined || value === null) return { url: null, connects: 'maybe' }
    if (value === 'websocket') return { url: null, connects: 'always' }
    const url = typeof value === 'string' ? URL.parse(value) : null
    if (url && /^https?:$/.test(url.protocol) && url.search === '' && url.hash === '')
      return { url: value as string, connects: 'never' }
    const what = 'must be an http:// or https:// address without a query, null, or websocket'
    return this.#fault('url', what, { url: null, connects: 'never' })
  }

  sender(serverName: string): string {
    const localpart = this.text('sender_localpart')
    const sender = `@${localpart}:${serverName}`
    if (localpart === '' || (isNewLocalpart(localpart) && isUserId(sender))) return sender
    const grammar = 'has the characters a-z, 0-9 and ._=/+- only, without @ and server name'
    return this.#fault('sender_localpart', grammar, sender)
  }

  flag(key: string, normal: boolean): boolean {
    const value = this.#table[key] ?? normal
    if (typeof value === 'boolean') return value
    return this.#fault(key, 'must be true or false', normal)
  }

  texts(key: string): string[] {
    const value = this.#table[key] ?? []
    if (Array.isArray(value) && value.every((each) => typeof each === 'string')) return value
    return this.#fault(key, 'must be a list of texts', [])
  }

  namespaces(): Appservice['namespaces'] {
    const value = this.#required('namespaces')
    const found: Record<NamespaceKind, readonly Namespace[]> = { users: [], rooms: [], aliases: [] }
    if (value === undefined) return found
    if (!isObject(value)) return this.#fault('namespaces', 'must be a table', found)
    for (const key of Object.keys(value))
      if (!kinds.some((kind) => kind === key))
        this.#fault(`namespaces.${key}`, `there are namespaces of ${kinds.join(', ')} only`, null)
    for (const kind of kinds) found[kind] = this.#list(`namespaces.${kind}`, value[kind] ?? [])
    return found
  }

  #list(key: string, list: unknown): Namespace[] {
    if (!Array.isArray(list)) return this.#fault(key, 'must be a list', [])
    return list.flatMap((entry: unknown, index) => {
      const place = `${key}.${index}`
      if (!isObject(entry))
        return this.#fault(place, 'must be a table with regex and exclusive', [])
      const { regex: source, exclusive } = entry
      if (typeof exclusive !== 'boolean')
        this.#fault(`${place}.exclusive`, 'must be true or false', null)
      if (typeof source !== 'string' || source === '')
        return this.#fault(`${place}.regex`, 'must be a text that is not empty', [])
      const regex = compile(source)
      if (typeof regex === 'string') return this.#fault(`${place}.regex`, regex, [])
      return [{ exclusive: exclusive === true, regex }]
    })
  }

  #required(key: string): unknown {
    const value = this.#table[key]
    return value === undefined ? this.#fault(key, 'is missing', undefined) : value
  }

  #fault<T>(key: string, what: string, instead: T): T {
    this.faults.push(`${key}: ${what}`)
    return instead
  }
}

/** POSIX has names for kinds of characters, which JavaScript does not know. */
const classes = new Map([
  ['alnum', 'A-Za-z0-9'],
  ['alpha', 'A-Za-z'],
  ['blank', ' \\t'],
  ['digit', '0-9'],
  ['graph', '!-~'],
  ['lower', 'a-z'],
  ['print', ' -~'],
  ['punct', '!-\\/:-@\\[-`{-~'],
  ['space', '\\s'],
  ['upper', 'A-Z'],
  ['xdigit', 'A-Fa-f0-9'],
])

/**
 * A regular expression, or why it is none.
 *
 * Not spec: it does not say whether the whole ID must match. Registrations are written for servers that
 * match from the beginning and leave the end open.
 */
function compile(source: string): RegExp | string {
  const ours = source.replace(/\[:([a-z]+):\]/g, (all, name: string) => classes.get(name) ?? all)
  try {
    // By itself first: what closes a group of ours is no expression.
    void new RegExp(ours)
    return new RegExp(`^(?:${ours})`)
  } catch (error) {
    const why = (error as Error).message.replace(/^Invalid regular expression: /, '')
    return `${source} is no regular expression: ${why}`
  }
}

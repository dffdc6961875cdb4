import { starMatcher } from '#core/glob.ts'
import { isRoomId, isUserId } from '#core/ids.ts'
import { isObject, type Json, type JsonObject, setKey } from '#core/json.ts'

/**
 * Filters of clients: read once, then asked about each event.
 *
 * Spec: client-server-api/#filtering
 */
export type Filter = Readonly<{
  /** Paths of what an event shall have; undefined is all. */
  eventFields: readonly (readonly string[])[] | undefined
  eventFormat: 'client' | 'federation'
  presence: EventFilter
  accountData: EventFilter
  rooms: NameFilter
  includeLeave: boolean
  ephemeral: EventFilter
  state: EventFilter
  timeline: EventFilter
  roomAccountData: EventFilter
}>

/** Not spec: items of a list each of which is tried for each event. */
const maxTried = 1_000

/** A list of what to take and one of what to leave; leaving wins. */
export class NameFilter {
  /** Undefined takes all. */
  readonly only: readonly string[] | undefined
  readonly not: readonly string[]
  readonly #only: Names | undefined
  readonly #not: Names

  constructor(only: readonly string[] | undefined, not: readonly string[] = [], globs = false) {
    this.only = only
    this.not = not
    this.#only = only && new Names(only, globs)
    this.#not = new Names(not, globs)
  }

  /** Whether it lets a name through; what has no name passes unless some are asked for. */
  accepts(name: string | undefined): boolean {
    if (name === undefined) return this.only === undefined
    return !this.#not.has(name) && (this.#only?.has(name) ?? true)
  }

  /** Whether it lets everything through. */
  get acceptsAll(): boolean {
    return this.only === undefined && this.not.length === 0
  }
}

class Names {
  readonly #plain: ReadonlySet<string>
  readonly #globs: readonly ((name: string) => boolean)[]

  constructor(names: readonly string[], globs: boolean) {
    // Only `*` is a wildcard here, and only in types; a type with a `?` is plain.
    this.#globs = globs ? names.filter(isGlob).map(starMatcher) : []
    this.#plain = new Set(globs ? names.filter((name) => !isGlob(name)) : names)
  }

  has(name: string): boolean {
    return this.#plain.has(name) || this.#globs.some((fits) => fits(name))
  }
}

const isGlob = (name: string): boolean => name.includes('*')

/** What must relate to an event for it to pass; one that fits both is enough. */
export type RelatedFilter = Readonly<{
  relTypes: readonly string[] | undefined
  senders: readonly string[] | undefined
}>

/** An EventFilter or a RoomEventFilter; what the first lacks has its default. */
export class EventFilter {
  readonly limit: number | undefined
  readonly types: NameFilter
  readonly senders: NameFilter
  readonly rooms: NameFilter
  readonly containsUrl: boolean | undefined
  readonly lazyLoadMembers: boolean
  readonly includeRedundantMembers: boolean
  readonly unreadThreadNotifications: boolean
  /** Undefined asks for nothing. What an event itself says does not decide it, so `accepts` does not know. */
  readonly related?: RelatedFilter

  /** Of a JSON object that `checkEventFilter` found no fault in. */
  constructor(json: JsonObject = {}) {
    const list = (key: string) => json[key] as string[] | undefined
    this.limit = json['limit'] as number | undefined
    this.types = new NameFilter(list('types'), list('not_types'), true)
    this.senders = new NameFilter(list('senders'), list('not_senders'))
    this.rooms = new NameFilter(list('rooms'), list('not_rooms'))
    this.containsUrl = json['contains_url'] as boolean | undefined
    this.lazyLoadMembers = json['lazy_load_members'] === true
    this.includeRedundantMembers = json['include_redundant_members'] === true
    this.unreadThreadNotifications = json['unread_thread_notifications'] === true
    // v1.3+
    const relTypes = list('related_by_rel_types')
    const relSenders = list('related_by_senders')
    if (relTypes || relSenders) this.related = { relTypes, senders: relSenders }
  }

  /** Whether it lets an event through; account data and the like have no sender. */
  accepts(event: Readonly<{ type: string; sender?: string; content: JsonObject }>): boolean {
    if (!this.types.accepts(event.type) || !this.senders.accepts(event.sender)) return false
    return (
      this.containsUrl === undefined || Object.hasOwn(event.content, 'url') === this.containsUrl
    )
  }

  /** Whether it lets every event of a room that it accepts through. */
  get acceptsAll(): boolean {
    return (
      this.types.acceptsAll &&
      this.senders.acceptsAll &&
      this.containsUrl === undefined &&
      this.related === undefined
    )
  }
}

/** Reads a filter; a text says what is wrong with it. */
export function parseFilter(json: unknown): Filter | string {
  if (!isObject(json)) return 'A filter is an object'
  const { event_fields: fields, event_format: format = 'client', room = {} } = json
  if (!isObject(room)) return '`room` is not an object'
  if (fields !== undefined && !isTexts(fields)) return '`event_fields` is not a list of texts'
  if (fields && fields.length > maxTried) return `\`event_fields\` has more than ${maxTried} items`
  if (format !== 'client' && format !== 'federation')
    return '`event_format` is neither `client` nor `federation`'
  if (!isOptional(room['include_leave'], 'boolean')) return '`include_leave` is not a boolean'
  const fault =
    checkEventFilter(json['presence']) ??
    checkEventFilter(json['account_data']) ??
    checkIds(room, 'rooms', isRoomId) ??
    checkIds(room, 'not_rooms', isRoomId) ??
    checkEventFilter(room['ephemeral']) ??
    checkEventFilter(room['state']) ??
    checkEventFilter(room['timeline']) ??
    checkEventFilter(room['account_data'])
  if (fault !== undefined) return fault
  const part = (value: Json | undefined) => new EventFilter(value as JsonObject | undefined)
  return {
    eventFields: fields?.map(parsePath),
    eventFormat: format,
    presence: part(json['presence']),
    accountData: part(json['account_data']),
    rooms: new NameFilter(
      room['rooms'] as string[] | undefined,
      room['not_rooms'] as string[] | undefined,
    ),
    includeLeave: room['include_leave'] === true,
    ephemeral: part(room['ephemeral']),
    state: part(room['state']),
    timeline: part(room['timeline']),
    roomAccountData: part(room['account_data']),
  }
}

/** Reads a lone RoomEventFilter, as /messages and others take it; a text says what is wrong. */
export function parseEventFilter(json: unknown): EventFilter | string {
  if (!isObject(json)) return 'A filter is an object'
  return checkEventFilter(json) ?? new EventFilter(json)
}

/** What is wrong with an EventFilter or RoomEventFilter. */
function checkEventFilter(json: Json | undefined): string | undefined {
  if (json === undefined) return undefined
  if (!isObject(json)) return 'A filter is an object'
  const { limit } = json
  if (limit !== undefined && !(Number.isSafeInteger(limit) && (limit as number) >= 0))
    return '`limit` is not an integer from 0 on'
  for (const key of ['types', 'not_types']) {
    const list = json[key]
    if (list === undefined) continue
    if (!isTexts(list)) return `\`${key}\` is not a list of texts`
    if (list.filter(isGlob).length > maxTried)
      return `\`${key}\` has more than ${maxTried} items with a \`*\``
  }
  const relTypes = json['related_by_rel_types']
  if (relTypes !== undefined && !isTexts(relTypes))
    return '`related_by_rel_types` is not a list of texts'
  for (const key of booleans)
    if (!isOptional(json[key], 'boolean')) return `\`${key}\` is not a boolean`
  return (
    checkIds(json, 'senders', isUserId) ??
    checkIds(json, 'not_senders', isUserId) ??
    checkIds(json, 'related_by_senders', isUserId) ??
    checkIds(json, 'rooms', isRoomId) ??
    checkIds(json, 'not_rooms', isRoomId)
  )
}

const booleans = [
  'contains_url',
  'lazy_load_members',
  'include_redundant_members',
  'unread_thread_notifications',
]

const isTexts = (value: Json | undefined): value is string[] =>
  Array.isArray(value) && value.every((item) => typeof item === 'string')

const isOptional = (value: Json | undefined, type: 'boolean'): boolean =>
  value === undefined || typeof value === type

function checkIds(
  json: JsonObject,
  key: string,
  isId: (id: string) => boolean,
): string | undefined {
  const list = json[key]
  if (list === undefined || (isTexts(list) && list.every(isId))) return undefined
  return `\`${key}\` is not a list of IDs`
}

/**
 * The parts of a path such as `content.m\.relates_to.key`.
 *
 * Spec: appendices/#dot-separated-property-paths
 */
export function parsePath(path: string): string[] {
  const parts = ['']
  for (const [token] of path.matchAll(/\\[.\\]|[^]/gu)) {
    if (token === '.') parts.push('')
    else parts[parts.length - 1] += token.length === 2 && token[0] === '\\' ? token[1]! : token
  }
  return parts
}

/** What of an event a client asked for by its `event_fields`. */
export function project(event: JsonObject, paths: readonly (readonly string[])[]): JsonObject {
  const result: JsonObject = {}
  for (const path of paths) copyPath(event, result, path)
  return result
}

function copyPath(
  source: JsonObject,
  target: JsonObject,
  path: readonly string[],
  depth = 0,
): void {
  const key = path[depth]
  if (key === undefined || !Object.hasOwn(source, key)) return
  const value = source[key]!
  if (depth === path.length - 1) return setKey(target, key, value)
  if (!isObject(value)) return
  const found = Object.hasOwn(target, key) ? target[key] : undefined
  // A shorter path may have copied all of it already.
  if (found === value) return
  const inner = isObject(found) ? found : {}
  copyPath(value, inner, path, depth + 1)
  if (found === undefined && Object.keys(inner).length > 0) setKey(target, key, inner)
}

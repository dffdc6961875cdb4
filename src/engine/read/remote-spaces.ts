import { RemoteError } from '#core/error.ts'
import { isRoomId } from '#core/ids.ts'
import { isObject, type Json, type JsonObject } from '#core/json.ts'
import { childrenIn, type RoomSummary, type SpaceRoom } from './space-rooms.ts'

/** What another server says of a room and its children. */
export type RemoteSpace = {
  readonly room: SpaceRoom
  /** Children that it knows, less what they name their children. */
  readonly children: ReadonlyMap<string, SpaceRoom>
  readonly inaccessible: ReadonlySet<string>
}

/** Asks a server for the tree below a room; anything but an object is a `RemoteError`. */
export type AskForSpace = (
  destination: string,
  roomId: string,
  deadlineMs: number,
) => Promise<JsonObject>

type Asked = {
  readonly found: RemoteSpace | undefined
  /** Servers answered, and none told. */
  readonly refused: boolean
}
type Entry = { readonly answer: Promise<Asked>; readonly until: number; readonly refused: boolean }

const keptMs = 300_000
const failureKeptMs = 30_000
const maxKept = 1_000
const deadlineMs = 10_000
/** Servers that are asked for one room. */
const maxAsked = 3
const maxChildren = 500

/**
 * Rooms that other servers describe, kept for a while: the same is asked once, however many look. It
 * is not kept who asked, so who may see a room is decided for each.
 *
 * Spec: server-server-api/#get_matrixfederationv1hierarchyroomid
 */
export class RemoteSpaces {
  readonly #askFor: AskForSpace
  readonly #clock: () => number
  readonly #kept = new Map<string, Entry>()

  constructor(askFor: AskForSpace, clock: () => number) {
    this.#askFor = askFor
    this.#clock = clock
  }

  /**
   * Undefined if none of the servers tells. That servers refuse counts for the later pages of a walk
   * only: they may tell the moment that a user of ours, or one of theirs, joins a room.
   */
  async find(
    roomId: string,
    via: readonly string[],
    { later = false }: { later?: boolean } = {},
  ): Promise<RemoteSpace | undefined> {
    const kept = this.#kept.get(roomId)
    if (kept && kept.until > this.#clock() && (later || !kept.refused))
      return (await kept.answer).found
    const answer = this.#ask(roomId, via.slice(0, maxAsked))
    this.#keep(roomId, { answer, until: this.#clock() + keptMs, refused: false })
    try {
      const { found, refused } = await answer
      if (!found) this.#keep(roomId, { answer, until: this.#clock() + failureKeptMs, refused })
      return found
    } catch (error) {
      this.#kept.delete(roomId)
      throw error
    }
  }

  #keep(roomId: string, entry: Entry): void {
    this.#kept.delete(roomId)
    this.#kept.set(roomId, entry)
    const [oldest] = this.#kept.keys()
    if (this.#kept.size > maxKept && oldest !== undefined) this.#kept.delete(oldest)
  }

  async #ask(roomId: string, via: readonly string[]): Promise<Asked> {
    const until = this.#clock() + deadlineMs
    let refused = true
    for (const destination of via) {
      const left = until - this.#clock()
      if (left <= 0) return { found: undefined, refused: false }
      try {
        const found = read(roomId, await this.#askFor(destination, roomId, left))
        if (found) return { found, refused: false }
      } catch (error) {
        if (!(error instanceof RemoteError)) throw error
        if (error.status !== 404) refused = false
      }
    }
    return { found: undefined, refused }
  }
}

function read(roomId: string, answer: JsonObject): RemoteSpace | undefined {
  const room = roomIn(answer['room'])
  if (room?.summary.room_id !== roomId) return undefined
  const children = new Map<string, SpaceRoom>()
  for (const each of listIn(answer['children'])) {
    const child = roomIn(each)
    if (child) children.set(child.summary.room_id, child)
  }
  const closed = listIn(answer['inaccessible_children']).filter((id) => typeof id === 'string')
  return { room, children, inaccessible: new Set(closed) }
}

const listIn = (json: Json | undefined): Json[] =>
  Array.isArray(json) ? json.slice(0, maxChildren) : []

const texts = [
  'name',
  'topic',
  'canonical_alias',
  'avatar_url',
  'room_type',
  'room_version',
  'encryption',
] as const

/** Clients are given it as it is, so nothing but what is well formed is taken. */
function roomIn(json: Json | undefined): SpaceRoom | undefined {
  if (!isObject(json)) return undefined
  const { room_id: id, num_joined_members: members, join_rule: rule } = json
  if (typeof id !== 'string' || !isRoomId(id) || !Number.isSafeInteger(members)) return undefined
  const summary: RoomSummary = {
    room_id: id,
    num_joined_members: members as number,
    world_readable: json['world_readable'] === true,
    guest_can_join: json['guest_can_join'] === true,
    join_rule: typeof rule === 'string' ? rule : 'public',
  }
  for (const name of texts) {
    const value = json[name] ?? (name === 'room_version' ? json['im.nheko.summary.version'] : null)
    if (typeof value === 'string') summary[name] = value
  }
  if (!summary.avatar_url?.startsWith('mxc://')) delete summary.avatar_url
  const allowed = listIn(json['allowed_room_ids']).filter((each) => typeof each === 'string')
  if (allowed.length > 0) summary.allowed_room_ids = allowed
  const state = listIn(json['children_state']).filter(isObject)
  return { summary, ...childrenIn(state) }
}

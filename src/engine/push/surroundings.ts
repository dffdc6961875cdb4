import { parseJson } from '#core/canonical-json.ts'
import { isObject, type JsonObject } from '#core/json.ts'
import { shardOfNid } from '#core/shard.ts'
import { readStripped } from '#engine/read/stripped.ts'
import { shownTexts } from '#engine/read/shown-texts.ts'
import type { Sql } from '#store/db.ts'
import * as readState from '#store/room/read-state.ts'
import type { Item } from '#store/push/queue.ts'

/** What is told of an event beside itself. */
export type Surroundings = {
  roomName: string | undefined
  roomAlias: string | undefined
  senderName: string | undefined
}

export type EventItem = Item & {
  room_nid: number
  event_nid: number
  event_position: number
  event_id: Uint8Array
  room_id: string
  version: string
  json: string
}

/** An item with its event, read. */
export type Told = { item: EventItem; pdu: JsonObject; sender: string; isInvite: boolean }

export const toldOf = (item: Item): Told | undefined => {
  if (item.json === null || item.event_nid === null) return undefined
  const pdu = parseJson(item.json)
  if (!isObject(pdu)) return undefined
  const { content, type, sender, state_key: key } = pdu
  const isInvite =
    type === 'm.room.member' &&
    key === item.user_id &&
    isObject(content) &&
    content['membership'] === 'invite'
  return {
    item: item as EventItem,
    pdu,
    sender: typeof sender === 'string' ? sender : '',
    isInvite,
  }
}

/**
 * The names of rooms and senders as they were, by `nameKey`: the same statements for any number of events.
 * Who is only invited is told what was shown with the invite.
 */
export async function readSurroundings(
  sql: Sql,
  told: readonly Told[],
): Promise<ReadonlyMap<string, Surroundings>> {
  const found = new Map<string, Surroundings>()
  const invites = told.filter(({ isInvite }) => isInvite)
  const inside = told.filter(({ isInvite }) => !isInvite)
  const [stripped, states] = await Promise.all([readInvites(sql, invites), readStates(sql, inside)])
  for (const each of invites)
    found.set(nameKey(each), surroundingsOf(stripped.get(each.item.event_nid) ?? [], each))
  for (const each of inside)
    found.set(nameKey(each), surroundingsOf(states.get(each.item.room_nid) ?? [], each))
  return found
}

export const nameKey = ({ item }: Told): string => `${item.pusher_id} ${item.queue_no}`

async function readInvites(sql: Sql, invites: readonly Told[]) {
  const asked = [...new Map(invites.map(({ item }) => [item.event_nid, item])).values()]
  const byEvent = new Map<number, JsonObject[]>()
  const rounds: EventItem[][] = []
  // What is read is by room: of several invites to one room each has a round of its own.
  for (const item of asked) {
    const round = rounds.find((each) => each.every((other) => other.room_nid !== item.room_nid))
    if (round) round.push(item)
    else rounds.push([item])
  }
  for (const round of rounds) {
    const states = await readStripped(
      sql,
      round.map((item) => ({
        shard: shardOfNid(item.event_nid),
        roomNid: item.room_nid,
        eventNid: item.event_nid,
        position: item.event_position,
      })),
    )
    for (const item of round) byEvent.set(item.event_nid, states.get(item.room_nid)?.state ?? [])
  }
  return byEvent
}

async function readStates(sql: Sql, inside: readonly Told[]) {
  const keys = new Map<string, readState.KeyAt>()
  for (const { item, sender } of inside) {
    const wanted = [
      ['m.room.name', ''],
      ['m.room.canonical_alias', ''],
      ['m.room.member', sender],
    ] as const
    for (const [type, stateKey] of wanted) {
      const { room_nid: roomNid, event_position: at } = item
      const key = JSON.stringify([roomNid, type, stateKey])
      const known = keys.get(key)
      // The newest of several: a name is no secret to who reads what came later.
      if (!known || known.at < at)
        keys.set(key, { shard: shardOfNid(item.event_nid), roomNid, at, type, stateKey })
    }
  }
  const byRoom = new Map<number, JsonObject[]>()
  if (keys.size === 0) return byRoom
  const rows = await readState.keysAt(sql, [...keys.values()])
  const texts = await shownTexts(
    sql,
    rows.map((row) => row.event_nid),
  )
  for (const row of rows) {
    const text = texts.get(row.event_nid)
    const event = text === undefined ? undefined : parseJson(text)
    if (!isObject(event)) continue
    const state = byRoom.get(row.room_nid) ?? []
    state.push(event)
    byRoom.set(row.room_nid, state)
  }
  return byRoom
}

function surroundingsOf(state: readonly JsonObject[], { sender }: Told): Surroundings {
  const textAt = (type: string, stateKey: string, key: string): string | undefined => {
    const event = state.find((each) => each['type'] === type && each['state_key'] === stateKey)
    const content = event?.['content']
    const value = isObject(content) ? content[key] : undefined
    return typeof value === 'string' && value !== '' ? value.slice(0, 1_000) : undefined
  }
  return {
    roomName: textAt('m.room.name', '', 'name'),
    roomAlias: textAt('m.room.canonical_alias', '', 'alias'),
    senderName: textAt('m.room.member', sender, 'displayname'),
  }
}
